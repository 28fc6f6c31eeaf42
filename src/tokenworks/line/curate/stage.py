"""Documents -> corpus: no copies, nothing below the quality asked for or above the label allowed."""

from __future__ import annotations

import itertools
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from tokenworks.core.corpus import read_parts, write_parts
from tokenworks.core.document import Document, SetAside
from tokenworks.core.ids import canonical_json
from tokenworks.core.label import Label
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.curate.copies import Copy, CopyIndex
from tokenworks.line.curate.report import MANIFEST, CorpusTally, CurateReport
from tokenworks.line.curate.signatures import signatures

_BATCH = 64  # documents whose signatures are made together
_MIN_WORDS_NEAR = 20  # shorter texts share their few n-grams by chance
_COPY_BYTES = 1 << 20


class CurateParams(msgspec.Struct, frozen=True, kw_only=True):
    """What may enter the corpus."""

    max_label: str = "restricted"
    languages: tuple[str, ...] = ()  # empty: all; undecided ones (source code) always may
    min_quality: float = 0.25
    min_characters: int = 1
    near_duplicate: float = 0.8  # least Jaccard similarity of word 5-grams of a near copy; 0: only exact ones go


def curate(inputs: Mapping[str, str], params: CurateParams, bench: Bench) -> Outputs:
    """Decide on every document in order, then write those that stay: two passes, one batch in memory."""
    started_s = time.monotonic()
    documents = bench.artifacts.folder(inputs["documents"])
    out = bench.scratch / "out"
    shutil.rmtree(out, ignore_errors=True)  # of a killed run: a pass over the documents is all there is to lose
    out.mkdir(parents=True)
    curation = _Curation(params, bench, CopyIndex(bench.scratch / "copies.db", params.near_duplicate))
    with bench.artifacts.open(inputs["set_aside"]) as before, (out / "set_aside.jsonl").open("wb") as aside:
        shutil.copyfileobj(before, aside, _COPY_BYTES)
        curation.decide(documents, aside)
    tally = CorpusTally()
    write_parts(out / "corpus", map(tally.add, curation.kept(documents)))
    (out / "corpus" / MANIFEST).write_bytes(canonical_json(tally.manifest()))
    report = curation.report(tally, time.monotonic() - started_s)
    return {
        "corpus": bench.artifacts.put_folder(out / "corpus"),
        "set_aside": bench.artifacts.put_file(out / "set_aside.jsonl"),
        "report": bench.artifacts.put_bytes(msgspec.json.encode(report)),
    }


CURATE = Stage(name="curate", version="1", run=curate)


class _Curation:
    """The verdicts of one run."""

    def __init__(self, params: CurateParams, bench: Bench, index: CopyIndex) -> None:
        self._params = params
        self._max_label = Label.parse(params.max_label)
        self._bench = bench
        self._index = index
        self._seen = 0
        self._reasons: Counter[str] = Counter()

    def decide(self, folder: Path, aside: BinaryIO) -> None:
        """Pass a verdict on every document; write a line for each that does not stay."""
        documents = read_parts(folder)
        while batch := list(itertools.islice(documents, _BATCH)):
            for verdict in self._verdicts(batch):
                if verdict is not None:
                    self._reasons[verdict.reason] += 1
                    aside.write(msgspec.json.encode(verdict) + b"\n")
            self._bench.progress(self._seen, None, unit="documents")

    def _verdicts(self, batch: Sequence[Document]) -> Iterator[SetAside | None]:
        refusals = [self._refusal(document) for document in batch]
        near = [not refusal and self._comparable(document) for document, refusal in zip(batch, refusals, strict=True)]
        made = iter(signatures([document.text for document, wanted in zip(batch, near, strict=True) if wanted]))
        for document, refusal, wanted in zip(batch, refusals, near, strict=True):
            number, self._seen = self._seen, self._seen + 1
            signature = next(made) if wanted else None
            if refusal:
                yield _aside(document, *refusal)
                continue
            name = f"{document.source}:{document.path}"
            copy = self._index.add(number, name, document.text, signature, Label.parse(document.label))
            yield _aside(document, *_copied(copy)) if copy else None

    def _refusal(self, document: Document) -> tuple[str, str] | None:
        params = self._params
        if Label.parse(document.label) > self._max_label:
            return "label", f"{document.label}; the corpus takes at most {params.max_label}"
        if params.languages and document.language and document.language not in params.languages:
            return "language", document.language
        if document.quality < params.min_quality:
            return "low-quality", f"{document.quality:.2f}; at least {params.min_quality:.2f} is asked for"
        if len(document.text) < params.min_characters:
            return "too-short", f"{len(document.text)} characters"
        return None

    def _comparable(self, document: Document) -> bool:
        return self._params.near_duplicate > 0 and len(document.text.split(None, _MIN_WORDS_NEAR)) >= _MIN_WORDS_NEAR

    def kept(self, folder: Path) -> Iterator[Document]:
        """Yield the documents that stay, each under the highest label of its copies."""
        for number, document in enumerate(read_parts(folder)):
            label = self._index.label_of(number)
            if label is not None:
                yield document if str(label) == document.label else msgspec.structs.replace(document, label=str(label))

    def report(self, tally: CorpusTally, seconds: float) -> CurateReport:
        """Return the checked report, and let go of the index."""
        report = CurateReport(
            documents_seen=self._seen,
            kept=tally.documents,
            set_aside=dict(sorted(self._reasons.items())),
            characters=tally.characters,
            by_label=dict(tally.labels),
            by_language=dict(tally.languages),
            labels_raised=self._index.raised(),
            seconds=round(seconds, 3),
            documents_per_s=round(self._seen / seconds, 1) if seconds else 0.0,
        )
        self._index.close()
        report.check()
        return report


def _copied(copy: Copy) -> tuple[str, str]:
    if copy.exact:
        return "duplicate", f"of {copy.of}"
    return "near-duplicate", f"of {copy.of}, similarity {copy.similarity:.2f}"


def _aside(document: Document, reason: str, detail: str) -> SetAside:
    return SetAside(path=document.path, source=document.source, reason=reason, detail=detail)
