"""What a corpus is, and what curation left out and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from tokenworks.core.document import Document
from tokenworks.core.errors import IntegrityError
from tokenworks.core.label import Label, highest

MANIFEST = "manifest.json"


class CorpusManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a folder of documents; written beside its parts. Equal documents give equal bytes."""

    documents: int
    bytes: int  # of UTF-8 text
    label: str  # the highest of its documents
    labels: dict[str, int]
    languages: dict[str, int]
    licences: dict[str, int]
    sources: dict[str, int]


class CurateReport(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one curation: `documents_seen = kept + the sum of set_aside`."""

    documents_seen: int
    kept: int
    set_aside: dict[str, int]  # reason -> documents, of this stage alone
    characters: int  # of the documents kept
    by_label: dict[str, int]
    by_language: dict[str, int]
    labels_raised: int  # kept documents that took the higher label of a copy of theirs
    seconds: float
    documents_per_s: float

    def check(self) -> None:
        """Raise `IntegrityError` unless what came in is what was kept and what was set aside."""
        left = sum(self.set_aside.values())
        if self.documents_seen != self.kept + left:
            raise IntegrityError(
                f"curate report: {self.documents_seen} documents came in, {self.kept} + {left} are accounted for; "
                "this is a bug"
            )


class CorpusTally:
    """Counts documents on their way into a corpus."""

    def __init__(self) -> None:
        self.documents = self.bytes = self.characters = 0
        self.labels: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.licences: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()

    def add(self, document: Document) -> Document:
        """Count `document` and return it."""
        self.documents += 1
        self.bytes += len(document.text.encode("utf-8"))
        self.characters += len(document.text)
        self.labels[document.label] += 1
        self.languages[document.language or "undecided"] += 1
        self.licences[document.licence or "unknown"] += 1
        self.sources[document.source] += 1
        return document

    def manifest(self) -> CorpusManifest:
        """Return what was counted."""
        return CorpusManifest(
            documents=self.documents,
            bytes=self.bytes,
            label=str(highest(map(Label.parse, self.labels))),
            labels=dict(sorted(self.labels.items())),
            languages=dict(sorted(self.languages.items())),
            licences=dict(sorted(self.licences.items())),
            sources=dict(sorted(self.sources.items())),
        )


def read_manifest(folder: Path) -> CorpusManifest:
    """Return the manifest of a corpus folder."""
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=CorpusManifest)
