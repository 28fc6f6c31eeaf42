"""Results in the order of the listing -> documents, what was set aside, and where each came from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from tokenworks.core.clock import iso
from tokenworks.core.corpus import write_parts
from tokenworks.core.document import Document, SetAside, part_of
from tokenworks.core.label import Label
from tokenworks.line.ingest.cache import Cache
from tokenworks.line.ingest.examine import Item
from tokenworks.line.ingest.labels import UNKNOWN, document_label
from tokenworks.line.ingest.listing import Listing
from tokenworks.line.ingest.report import Tally
from tokenworks.line.ingest.walk import ERASED, Entry

_encode = msgspec.json.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Item]).decode


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a document came from. Apart from the documents, so that they do not change when a file is only touched."""

    path: str
    source: str
    sha256: str
    licence: str
    bytes: int  # of the file
    modified: str  # ISO 8601, UTC
    encoding: str
    file: str  # absolute


class Assembler:
    """Writes the three streams of the stage below `folder`, holding one chunk of one file at a time."""

    def __init__(
        self, folder: Path, cache: Cache, dictionaries: Mapping[str, Label], erased: Collection[str] = frozenset()
    ) -> None:
        self.documents = folder / "documents"
        self.set_aside = folder / "set_aside.jsonl"
        self.provenance = folder / "provenance.jsonl"
        self.tally = Tally()
        self._cache = cache
        self._dictionaries = dictionaries
        self._erased = erased
        self._decompressor = zstandard.ZstdDecompressor()

    def run(self, listing: Listing) -> None:
        """Write everything that `listing` has settled."""
        with self.set_aside.open("wb") as self._aside_file, self.provenance.open("wb") as self._provenance_file:
            write_parts(self.documents, self._documents(listing))

    def _documents(self, listing: Listing) -> Iterator[Document]:
        for entry, outcome in listing.settled():
            kept = 0
            if outcome.reason:
                self._leave(entry, "", outcome.reason, outcome.detail)
            for item in self._items(outcome.key):
                if item.reason:
                    self._leave(entry, item.part, item.reason, item.detail)
                    continue
                if self._is_erased(f"{entry.source}/{entry.path}{item.part}"):
                    self._leave(entry, item.part, ERASED, "on request")
                    continue
                document = self._document(entry, item)
                self.tally.keep(document, item.encoding)
                _write_line(self._provenance_file, _provenance(entry, document, item))
                kept += 1
                yield document
            self.tally.file(entry.size, kept)

    def _is_erased(self, named: str) -> bool:
        return any(part_of(named, whole) for whole in self._erased)

    def _items(self, key: str) -> Iterator[Item]:
        for chunk in self._cache.chunks(key) if key else ():
            yield from _decode(self._decompressor.decompress(chunk))

    def _document(self, entry: Entry, item: Item) -> Document:
        label, unknown = document_label(entry.labels, item.label, item.found, self._dictionaries)
        return Document(
            path=entry.path + item.part,
            source=entry.source,
            sha256=item.sha256,
            media_type=item.media_type,
            text=item.text,
            title=item.title,
            label=str(label),
            language=item.language,
            licence=item.licence or entry.licence,
            quality=item.quality,
            found=item.found | {UNKNOWN: 1} if unknown else item.found,
        )

    def _leave(self, entry: Entry, part: str, reason: str, detail: str) -> None:
        aside = SetAside(path=entry.path + part, source=entry.source, reason=reason, detail=detail)
        self.tally.leave(aside)
        _write_line(self._aside_file, aside)


def _provenance(entry: Entry, document: Document, item: Item) -> Provenance:
    return Provenance(
        path=document.path,
        source=document.source,
        sha256=document.sha256,
        licence=document.licence,
        bytes=entry.size,
        modified=iso(entry.mtime_ns / 1e9),
        encoding=item.encoding,
        file=entry.absolute.decode("utf-8", "replace"),
    )


def _write_line(file: BinaryIO, line: msgspec.Struct) -> None:
    file.write(_encode(line) + b"\n")
