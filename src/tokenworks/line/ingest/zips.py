"""Zip archives without surprises: what a member may be called and how far it may unpack."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import Rejected, UnreadableError

SUFFIXES = (".zip",)
_SMALL = 1 << 20  # below this no ratio is a danger


def refuse_bomb(data: bytes, limits: Limits) -> None:
    """Raise `UnreadableError('zip-bomb')` where an Office file (a zip) would unpack to more than allowed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            total = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnreadableError("damaged", f"not a zip container: {error}") from None
    if total > limits.file_bytes * 4 or (total > 32 * _SMALL and total > limits.archive_ratio * len(data)):
        raise UnreadableError("zip-bomb", f"{len(data)} bytes unpack to {total}")


def members(stream: BinaryIO, limits: Limits, budget: list[int]) -> Iterator[tuple[str, bytes] | Rejected]:
    """Yield (name, bytes) of each readable member in the order of names; the others with their reason.

    `budget` is one number shared by an archive and those inside it: the bytes that may still be unpacked.
    """
    try:
        archive = zipfile.ZipFile(stream)
        infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError) as error:
        raise UnreadableError("damaged", f"not a zip archive: {error}") from None
    if len(infos) > limits.archive_members:
        raise UnreadableError("zip-bomb", f"{len(infos)} members; the limit is {limits.archive_members}")
    taken: set[str] = set()
    with archive:
        for info in sorted(infos, key=lambda info: info.filename):
            if info.is_dir():
                continue
            name = _printable(info.filename)
            reason = "duplicate-name" if name in taken else _refusal(info, limits)
            taken.add(name)
            if reason:
                yield Rejected(part=f"!/{name}", reason=reason, detail=_detail(info, reason))
            else:
                yield _unpack(archive, info, name, limits, budget)


def _unpack(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, limits: Limits, budget: list[int]
) -> tuple[str, bytes] | Rejected:
    """Read a member up to the limits: what its header says is not believed."""
    allowed = min(limits.file_bytes, budget[0])
    try:
        with archive.open(info) as member:
            data = member.read(allowed + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, EOFError, OSError) as error:
        return Rejected(part=f"!/{name}", reason="damaged", detail=f"{type(error).__name__}: {error}")
    if len(data) > budget[0]:
        raise UnreadableError("zip-bomb", f"unpacks to more than {limits.archive_bytes} bytes")
    if len(data) > allowed:
        return Rejected(part=f"!/{name}", reason="too-large", detail=f"more than {limits.file_bytes} bytes")
    budget[0] -= len(data)
    return name, data


def _refusal(info: zipfile.ZipInfo, limits: Limits) -> str:
    pieces = info.filename.replace("\\", "/").split("/")
    if ".." in pieces or pieces[0] == "" or ":" in pieces[0]:
        return "unsafe-path"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "symlink"
    if info.flag_bits & 1:
        return "encrypted"
    if info.file_size > _SMALL and info.file_size > limits.archive_ratio * max(1, info.compress_size):
        return "zip-bomb"
    if info.file_size > limits.file_bytes:
        return "too-large"
    return ""


def _detail(info: zipfile.ZipInfo, reason: str) -> str:
    sizes = f"{info.compress_size} bytes unpack to {info.file_size}"
    return {"zip-bomb": sizes, "too-large": sizes, "unsafe-path": "leads out of the archive"}.get(reason, "")


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
