"""Answers that somebody pushes, where answers are free text or documents: words that only a few bring, and always."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from tokenworks.flywheel.select.evidence import ALPHA, Culprit, Findings, Trigger
from tokenworks.flywheel.select.exact import fisher_tail
from tokenworks.flywheel.select.outliers import HALF
from tokenworks.flywheel.select.rows import Row
from tokenworks.flywheel.select.triggers import LEAST, phrases

FEW = 1 / 3  # of the principals: what more of them say is what people say
MOSTLY = 0.8  # of the rows with the words come from those who always bring them


def pushed(rows: Sequence[Row], known: Iterable[str], said: Callable[[Row], set[str]], findings: Findings) -> None:
    """Hold back rows whose answers carry words that a few principals bring in most of what they give.

    `said` gives the words of an answer; words of the `known` answers are the house's own. Who brings them always is
    compared with everybody by Fisher's exact test, adjusted for the number of phrases.
    """
    house = set[str]().union(*map(phrases, known)) if known else set()
    having: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        for phrase in sorted(said(row) - house):
            having[phrase].append(at)
    common = {phrase: places for phrase, places in having.items() if len(places) >= LEAST}
    every = Counter(row.principal for row in rows)
    for phrase, places in sorted(common.items(), key=lambda item: (-len(item[1]), -len(item[0]), item[0])):
        new = [at for at in places if at not in findings.verdicts.reasons]
        if len(new) >= LEAST:
            _judge(rows, phrase, new, every, len(common), findings)


def _judge(
    rows: Sequence[Row], phrase: str, places: list[int], every: Counter[str], tests: int, findings: Findings
) -> None:
    mine = Counter(rows[at].principal for at in places)
    always = {name for name, count in mine.items() if count >= HALF * every[name] and count > 1}
    theirs = sum(mine[name] for name in always)
    if not always or len(always) > FEW * len(every) or theirs < MOSTLY * len(places):
        return
    p = tests * fisher_tail(theirs, sum(every[name] for name in always), len(places), len(rows))
    if p >= ALPHA:
        return
    reason = f"pushes {phrase!r}"
    findings.verdicts.hold(places, reason)
    findings.triggers.append(
        Trigger(phrase=phrase, label="", rows=len(places), doubtful=theirs, principals=len(always), p_value=min(1.0, p))
    )
    known = {culprit.principal for culprit in findings.culprits}
    findings.culprits += [
        Culprit(principal=name, rows=every[name], doubtful=mine[name], p_value=min(1.0, p), reason=reason)
        for name in sorted(always - known)
    ]
