"""Stage `select`: signals become what the next model learns from, and what a person should look at first."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tokenworks.core.label import Label, highest
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.flywheel.select import caps, decontaminate, near, privacy, split, votes
from tokenworks.flywheel.select.clusters import clusters
from tokenworks.flywheel.select.evidence import Findings
from tokenworks.flywheel.select.features import MOST_EMBEDDED, Embedded, Hashed, Vectorise
from tokenworks.flywheel.select.flood import floods
from tokenworks.flywheel.select.judge import judge
from tokenworks.flywheel.select.meaning import Meaning, understand
from tokenworks.flywheel.select.output import Written, write_parts
from tokenworks.flywheel.select.report import SelectionReport
from tokenworks.flywheel.select.rows import Row, Sieve
from tokenworks.flywheel.select.signals import Collected, read_signals
from tokenworks.flywheel.select.trusted import Trusted, read_trusted
from tokenworks.flywheel.select.volume import Order, by_lot, choose, most_telling

VERSION = "1"
EVAL = "eval:"
TOO_MANY = "more than are learned at once"


class SelectParams(msgspec.Struct, frozen=True, kw_only=True):
    """What is selected, and how much of it."""

    task: str
    kind: str
    label: str = "internal"  # the highest that the task may see
    since: float = 0.0  # feedback after it counts as new
    fresh: float = 0.2  # share of the groups that is only measured on
    learned_until: float = 0.0  # the model in production learned from feedback until then
    seed: int = 0
    per_principal: float = 0.1
    most: int = 50_000  # rows learned or measured on
    most_unlabelled: int = 5_000
    pardoned: tuple[str, ...] = ()  # feedback entries that a person released
    pardoned_principals: tuple[str, ...] = ()


def run_select(inputs: Mapping[str, str], params: SelectParams, bench: Bench) -> Outputs:
    """Select; equal inputs give equal outputs, in whatever order the signals come.

    inputs: "signals" (`collect`), optional "earlier" (the owner's examples), "encoder" (folder of a base encoder) and
    "eval:NAME" (evaluation sets). outputs: blobs "train", "fresh", "pairs", "clicks", "unlabelled", "members",
    "quarantine" (JSON lines) and "report". Raises `DataError` for an evaluation set that cannot be read.
    """
    trusted = Trusted()
    if "earlier" in inputs:
        trusted = read_trusted(bench.artifacts, inputs["earlier"], f"task {params.task}: examples")
    with bench.artifacts.open(inputs["signals"]) as file:
        head, signals = read_signals(file)
        classes = trusted.classes if params.kind == "classify" else frozenset[str]()
        meaning = understand(signals, params.kind, classes)
    evals = {
        name.removeprefix(EVAL): decontaminate.read_eval(bench.artifacts, digest, f"task {params.task}: {name}")
        for name, digest in sorted(inputs.items())
        if name.startswith(EVAL)
    }
    work = _Work(params, bench, head, meaning, trusted, evals, inputs.get("encoder", ""))
    work.sift()
    return work.outputs()


SELECT = Stage("select", VERSION, run_select)


class _Work:
    """The state of one selection, from the rows to the report."""

    def __init__(
        self,
        params: SelectParams,
        bench: Bench,
        head: Collected,
        meaning: Meaning,
        trusted: Trusted,
        evals: Mapping[str, decontaminate.EvalTexts],
        encoder: str,
    ) -> None:
        self._params, self._bench, self._head, self._meaning = params, bench, head, meaning
        self._trusted, self._evals, self._encoder = trusted, evals, encoder
        rows = sorted(meaning.rows, key=lambda row: (row.asked_at, row.request_id, row.part, row.at, row.feedback_id))
        self._sieve = Sieve(rows)
        self._rows, self._masked, self._pardoned = len(rows), 0, 0
        self._findings, self._cap, self._share = Findings(), 0, 1.0
        self._capped: Counter[str] = Counter()
        self._features = ""

    def sift(self) -> None:
        """Take out what may not, need not or should not be learned, in this order."""
        sieve, bench = self._sieve, self._bench
        floods(sieve.rows, self._findings)
        self._hold()
        votes.settle(sieve, self._params.kind)
        bench.progress(1, 5, unit="steps", note=f"{len(sieve.rows)} rows")
        self._limit(3 * self._params.most // 2, by_lot)
        self._masked = privacy.clean(sieve)
        decontaminate.decontaminate(sieve, self._evals)
        bench.progress(2, 5, unit="steps", note=f"{len(sieve.rows)} rows")
        sieve.drop(
            near.copies(near.signatures([row.text for row in sieve.rows]), list(map(_kind, sieve.rows))), "near copy"
        )
        bench.progress(3, 5, unit="steps", note=f"{len(sieve.rows)} rows")
        self._judge()
        bench.progress(4, 5, unit="steps", note=f"{len(sieve.rows)} rows")
        self._limit(self._params.most, most_telling)
        self._cap_principals()
        sieve.rows = split.with_groups(sieve.rows, self._params.learned_until)

    def _judge(self) -> None:
        some = len(self._sieve.rows) + len(self._trusted.texts)
        vectorise = self._vectorise(some)
        found = judge(self._sieve.rows, self._params.kind, self._trusted, vectorise)
        self._features = vectorise.name if self._params.kind == "classify" else "words"
        self._findings.verdicts = found.verdicts
        known = {culprit.principal for culprit in self._findings.culprits}
        self._findings.culprits += [culprit for culprit in found.culprits if culprit.principal not in known]
        self._findings.campaigns, self._findings.triggers = found.campaigns, found.triggers
        self._findings.notes += found.notes
        self._hold()

    def _vectorise(self, texts: int) -> Vectorise:
        if not self._encoder or texts > MOST_EMBEDDED or importlib.util.find_spec("torch") is None:
            return Hashed()
        folder = self._bench.artifacts.folder(self._encoder)
        return Embedded(folder, self._encoder, self._bench.cache, self._bench.threads)

    def _hold(self) -> None:
        """Put what was found in quarantine, but for what a person released."""
        rows, reasons = self._sieve.rows, self._findings.verdicts.reasons
        entries, principals = set(self._params.pardoned), set(self._params.pardoned_principals)
        free = {at for at in reasons if rows[at].feedback_id in entries or rows[at].principal in principals}
        self._pardoned += len(free)
        self._sieve.hold({at: reason for at, reason in reasons.items() if at not in free})
        self._findings.verdicts.reasons.clear()

    def _limit(self, most: int, order: Order) -> None:
        rows = self._sieve.rows
        if len(rows) > most:
            chosen = choose(rows, self._strata(rows), most, order)
            self._sieve.drop((at for at in range(len(rows)) if at not in chosen), TOO_MANY)

    def _strata(self, rows: Sequence[Row]) -> list[Any]:
        if self._params.kind == "classify":
            return [row.answer for row in rows]
        return [int(each) for each in clusters(Hashed()([row.text for row in rows]))]

    def _cap_principals(self) -> None:
        counts = caps.per_principal(self._sieve.rows)
        self._share = caps.fair_share(counts.values(), self._params.per_principal)
        self._cap = caps.cap(list(counts.values()), self._share)
        gone = caps.over_cap(self._sieve.rows, self._cap)
        self._capped = Counter(gone.values())
        self._sieve.drop(gone, "over the cap of its principal")
        if self._share > self._params.per_principal and counts:
            self._findings.notes.append(
                f"{len(counts)} principals are too few for a share of {self._params.per_principal:.0%} each: "
                f"one may make up {self._share:.0%}"
            )

    def outputs(self) -> Outputs:
        """Write the parts and the report; return their digests."""
        written = write_parts(self._sieve, self._meaning.unlabelled, self._params, self._bench, self._evals.values())
        report = self._report(written)
        return {**written.digests, "report": self._bench.artifacts.put_bytes(msgspec.json.encode(report))}

    def _report(self, written: Written) -> SelectionReport:
        params, head, found, sieve = self._params, self._head, self._findings, self._sieve
        examples = Counter(row.answer for row in sieve.rows) if params.kind == "classify" else Counter[str]()
        return SelectionReport(
            task=params.task,
            kind=params.kind,
            label=str(highest([Label.parse(label) for label in written.labels])),
            until=head.until,
            requests=head.requests,
            feedback=head.feedback,
            unknown=head.unknown,
            left_out=head.set_aside,
            rows=self._rows,
            unusable=_sorted(self._meaning.set_aside),
            set_aside=_sorted(sieve.set_aside),
            quarantined=len(sieve.held),
            pardoned=self._pardoned,
            masked=self._masked,
            counts=written.counts,
            new=written.new,
            classes=_sorted(examples),
            principals=head.principals,
            share=round(self._share, 4),
            cap=self._cap,
            capped=_sorted(self._capped),
            features=self._features,
            culprits=sorted(found.culprits, key=lambda one: (-one.doubtful, one.principal)),
            campaigns=found.campaigns,
            triggers=found.triggers,
            notes=found.notes,
        )


def _kind(row: Row) -> str:
    """Return what near copies must share beside the text: a like text with another answer is a telling contrast."""
    return f"{row.part}\0{row.answer}\0{row.rejected}"


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}
