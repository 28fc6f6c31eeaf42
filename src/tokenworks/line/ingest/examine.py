"""What a reader found -> what the corpus needs to know of it: normal form, language, quality, findings."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import BinaryIO

import msgspec

from tokenworks import parts
from tokenworks.core.errors import MissingExtraError
from tokenworks.line.ingest import detect, zips
from tokenworks.line.ingest.detect.dictionary import Terms
from tokenworks.line.ingest.language import detect_language
from tokenworks.line.ingest.licences import header_licence
from tokenworks.line.ingest.normalise import normalise
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.quality import quality
from tokenworks.line.ingest.reading import READERS, RawDocument, Reader, Rejected, UnreadableError

ZIP = "zip"  # the one container; what is inside goes to the readers


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One examined text of a file, or why a piece of it is set aside. Where the file lies is not known here."""

    part: str = ""
    reason: str = ""
    detail: str = ""
    sha256: str = ""
    media_type: str = ""
    text: str = ""
    title: str = ""
    label: str = ""
    licence: str = ""
    language: str = ""
    quality: float = 1.0
    encoding: str = ""
    found: dict[str, int] = {}


class Examiner:
    """Reads one file after another; holds the readers and dictionaries of a worker."""

    def __init__(self, limits: Limits, read_as: Mapping[str, str], secrets: str, terms: Terms) -> None:
        self._limits = limits
        self._secrets = secrets
        self._terms = terms
        self._names = reader_names(read_as)
        self._readers: dict[str, Reader] = {}

    def reader_of(self, path: str) -> str:
        """Return the name of the reader for `path`, 'zip', or '' where nobody reads it."""
        suffix = PurePosixPath(path.rsplit("/", 1)[-1]).suffix.lower()
        return ZIP if suffix in zips.SUFFIXES else self._names.get(suffix, "")

    def examine(self, stream: BinaryIO, path: str, sha256: str) -> Iterator[Item]:
        """Yield the items of one file, at least one; `stream` is seekable and stands at its start."""
        yielded = False
        for item in self._open(stream, path, "", sha256, 0, [self._limits.archive_bytes]):
            yielded = True
            yield item
        if not yielded:
            yield Item(reason="empty", detail="nothing inside")

    def _open(
        self, stream: BinaryIO, path: str, part: str, sha256: str, depth: int, budget: list[int]
    ) -> Iterator[Item]:
        name = self.reader_of(path)
        try:
            if name == ZIP:
                yield from self._unpack(stream, part, depth, budget)
            elif name:
                yield from self._read(name, stream, path, part, sha256)
            else:
                suffix = PurePosixPath(path).suffix.lower()
                yield Item(part=part, reason="no-reader", detail=f"no reader for {suffix}")
        except UnreadableError as error:
            yield Item(part=part, reason=error.reason, detail=error.detail)
        except MissingExtraError as error:
            yield Item(part=part, reason="missing-extra", detail=str(error))

    def _read(self, name: str, stream: BinaryIO, path: str, part: str, sha256: str) -> Iterator[Item]:
        reader = self._readers.get(name)
        if reader is None:
            reader = self._readers[name] = load_reader(name)
        for raw in reader.read(stream, path, self._limits):
            if isinstance(raw, Rejected):
                yield Item(part=part + raw.part, reason=raw.reason, detail=raw.detail)
            else:
                yield self._describe(raw, reader.MEDIA_TYPE, part, sha256)

    def _unpack(self, stream: BinaryIO, part: str, depth: int, budget: list[int]) -> Iterator[Item]:
        if depth >= self._limits.archive_depth:
            raise UnreadableError("too-deep", f"archives inside archives, more than {self._limits.archive_depth} deep")
        for member in zips.members(stream, self._limits, budget):
            if isinstance(member, Rejected):
                yield Item(part=part + member.part, reason=member.reason, detail=member.detail)
                continue
            name, data = member
            place = f"{part}!/{name}"
            if not data:
                yield Item(part=place, reason="empty", detail="0 bytes")
                continue
            yield from self._open(io.BytesIO(data), name, place, hashlib.sha256(data).hexdigest(), depth + 1, budget)

    def _describe(self, raw: RawDocument, media_type: str, part: str, sha256: str) -> Item:
        text = normalise(raw.text)
        media_type = raw.media_type or media_type
        if not text or text.isspace():
            return Item(part=part + raw.part, reason="empty", detail="no text in it")
        findings = detect.find(text) + self._terms.find(text)
        licence = raw.licence or header_licence(text)
        language = detect_language(text, media_type)
        score = quality(text, media_type, language)
        found = Counter(kind for kind, _ in {(each.kind, text[each.start : each.end]) for each in findings})
        if self._secrets == "mask":
            text = detect.mask(text, [finding for finding in findings if finding.kind.startswith("secret:")])
        return Item(
            part=part + raw.part,
            sha256=sha256,
            media_type=media_type,
            text=text,
            title=normalise(raw.title)[:300],
            label=raw.label,
            licence=licence,
            language=language,
            quality=score,
            encoding=raw.encoding,
            found=dict(sorted(found.items())),  # different values: a footer's address on every page is one
        )


def reader_names(read_as: Mapping[str, str]) -> dict[str, str]:
    """Return suffix -> reader for all readers found, overlaid by `read_as`."""
    names = {suffix: name for name in parts.names(READERS) for suffix in load_reader(name).SUFFIXES}
    return names | {suffix.lower(): name for suffix, name in read_as.items()}


def load_reader(name: str) -> Reader:
    """Return the reader `name`; its module is the reader."""
    reader: Reader = parts.load(READERS, name)
    return reader
