"""What came in, what was left out and why, in numbers that add up."""

from __future__ import annotations

from collections import Counter

import msgspec

from tokenworks.core.document import Document, SetAside
from tokenworks.core.errors import IntegrityError


class FileCount(msgspec.Struct, frozen=True, kw_only=True):
    """Files of the sources: `seen = kept + set_aside`; kept are those that gave at least one document."""

    seen: int = 0
    kept: int = 0
    set_aside: int = 0
    cached: int = 0  # of those seen: not read again, because they are what they were


class DocumentCount(msgspec.Struct, frozen=True, kw_only=True):
    """Texts, and pieces that could not be one: `seen = kept + set_aside`."""

    seen: int = 0
    kept: int = 0
    set_aside: int = 0


class IngestReport(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one ingest run."""

    files: FileCount
    documents: DocumentCount
    set_aside: dict[str, int]  # reason -> documents
    by_language: dict[str, int]
    by_label: dict[str, int]
    by_media_type: dict[str, int]
    by_licence: dict[str, int]
    by_encoding: dict[str, int]
    found: dict[str, int]  # detector -> findings
    excluded: dict[str, int]  # pattern -> files and folders that it left out
    bytes_read: int
    characters: int
    seconds: float
    documents_per_s: float

    def check(self) -> None:
        """Raise `IntegrityError` unless what came in is what was kept and what was set aside."""
        sums = (
            ("files", self.files.seen, self.files.kept + self.files.set_aside),
            ("documents", self.documents.seen, self.documents.kept + self.documents.set_aside),
            ("set aside", self.documents.set_aside, sum(self.set_aside.values())),
            ("labels", self.documents.kept, sum(self.by_label.values())),
            ("languages", self.documents.kept, sum(self.by_language.values())),
        )
        for name, whole, parts in sums:
            if whole != parts:
                raise IntegrityError(
                    f"ingest report: {name}: {whole} came in, {parts} are accounted for; this is a bug"
                )


class Tally:
    """Counts while documents stream by."""

    def __init__(self) -> None:
        self.files_seen = self.files_kept = self.files_set_aside = self.cached = 0
        self.seen = self.kept = self.bytes_read = self.characters = 0
        self.set_aside: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.media_types: Counter[str] = Counter()
        self.licences: Counter[str] = Counter()
        self.encodings: Counter[str] = Counter()
        self.found: Counter[str] = Counter()

    def file(self, size: int, kept: int) -> None:
        """Count a file that gave `kept` documents."""
        self.files_seen += 1
        self.bytes_read += size
        if kept:
            self.files_kept += 1
        else:
            self.files_set_aside += 1

    def keep(self, document: Document, encoding: str) -> None:
        """Count a document that goes on."""
        self.seen += 1
        self.kept += 1
        self.characters += len(document.text)
        self.languages[document.language or "undecided"] += 1
        self.labels[document.label] += 1
        self.media_types[document.media_type] += 1
        self.licences[document.licence or "unknown"] += 1
        self.encodings[encoding] += 1
        self.found.update(document.found)

    def leave(self, aside: SetAside) -> None:
        """Count a document that does not."""
        self.seen += 1
        self.set_aside[aside.reason] += 1

    def report(self, seconds: float, excluded: Counter[str]) -> IngestReport:
        """Return the checked report."""
        left = sum(self.set_aside.values())
        report = IngestReport(
            files=FileCount(
                seen=self.files_seen, kept=self.files_kept, set_aside=self.files_set_aside, cached=self.cached
            ),
            documents=DocumentCount(seen=self.seen, kept=self.kept, set_aside=left),
            set_aside=_falling(self.set_aside),
            by_language=_falling(self.languages),
            by_label=_falling(self.labels),
            by_media_type=_falling(self.media_types),
            by_licence=_falling(self.licences),
            by_encoding=_falling(self.encodings),
            found=_falling(self.found),
            excluded=_falling(excluded),
            bytes_read=self.bytes_read,
            characters=self.characters,
            seconds=round(seconds, 3),
            documents_per_s=round(self.seen / seconds, 1) if seconds else 0.0,
        )
        report.check()
        return report


def _falling(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
