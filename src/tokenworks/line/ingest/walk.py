"""The listing of the sources: every file once, in one order, with what its place says about it."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.label import Label
from tokenworks.line.ingest.labels import check_rules, folder_labels
from tokenworks.line.ingest.licences import FILE_NAME, file_licence
from tokenworks.line.ingest.params import Source
from tokenworks.line.ingest.patterns import matches

_LICENCE_BYTES = 1 << 16


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a source, not opened yet; with a reason where it need not be."""

    source: str
    path: str  # relative, printable
    absolute: bytes  # as the file system has it
    size: int = 0
    mtime_ns: int = 0
    licence: str = ""
    labels: tuple[Label, ...] = ()
    reason: str = ""
    detail: str = ""


ERASED = "erased"


def walk(sources: tuple[Source, ...], excluded: Counter[str], erased: Collection[str] = ()) -> Iterator[Entry]:
    """Yield the entries of all sources by source name and path; count in `excluded` what patterns leave out.

    Of a document in `erased` ("source/path") only its place is given, with that reason: nothing opens it.
    """
    check_sources(sources)
    gone = frozenset(erased)
    for entry in _walk(sources, excluded):
        named = f"{entry.source}/{entry.path}"
        yield _refused(entry.source, entry.absolute, entry.path, ERASED, "on request") if named in gone else entry


def _walk(sources: tuple[Source, ...], excluded: Counter[str]) -> Iterator[Entry]:
    for source in sorted(sources, key=lambda source: source.name):
        root = Path(source.path).expanduser()
        if root.is_dir():
            yield from _walk_folder(source, os.fsencode(root), excluded)
        else:
            yield _entry(source, os.fsencode(root), root.name, source.licence)


def check_sources(sources: tuple[Source, ...]) -> None:
    """Raise `ConfigError` or `DataError` where the sources cannot be meant: no place, one name twice, a wrong label."""
    names = Counter(source.name for source in sources)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(f"source {twice[0]!r} is named twice; give each source its own name")
    for source in sources:
        check_rules(source.rules)
        if source.label:
            Label.parse(source.label)
        if not Path(source.path).expanduser().exists():
            raise DataError(f"source {source.name!r}: {source.path} does not exist; correct its path or remove it")


def _walk_folder(source: Source, root: bytes, excluded: Counter[str]) -> Iterator[Entry]:
    """Depth first without recursion; links to folders are not followed, so there is no loop to run into."""
    waiting: list[tuple[bytes, str, str]] = [(root, "", source.licence)]
    while waiting:
        absolute, path, licence = waiting.pop()
        is_folder = path == "" or path.endswith("/")
        if not is_folder:
            yield _entry(source, absolute, path, licence)
            continue
        try:
            with os.scandir(absolute) as found:
                children = sorted(found, key=lambda child: child.name, reverse=True)
        except OSError as error:
            yield _refused(source.name, absolute, path.rstrip("/") or ".", "unreadable", _why(error))
            continue
        if not source.licence:
            licence = _licence_here(children) or licence
        for child in children:
            below = path + child.name.decode("utf-8", "replace")
            if pattern := _excluding(source, below, child.is_dir(follow_symlinks=False)):
                excluded[pattern] += 1
            elif child.is_dir(follow_symlinks=False):
                waiting.append((child.path, below + "/", licence))
            else:
                waiting.append((child.path, below, licence))


def _entry(source: Source, absolute: bytes, path: str, licence: str) -> Entry:
    try:
        found = os.stat(absolute, follow_symlinks=path == Path(source.path).name)
    except OSError as error:
        return _refused(
            source.name, absolute, path, "vanished" if not os.path.lexists(absolute) else "unreadable", _why(error)
        )
    if stat.S_ISLNK(found.st_mode):
        return _refused(source.name, absolute, path, "symlink", "links are not followed; name the target as a source")
    if not stat.S_ISREG(found.st_mode):
        return _refused(source.name, absolute, path, "not-a-file", "a pipe, socket or device")
    if found.st_size == 0:
        return _refused(source.name, absolute, path, "empty", "0 bytes")
    return Entry(
        source=source.name,
        path=path,
        absolute=absolute,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        licence=licence,
        labels=tuple(folder_labels(source, path)),
    )


def _refused(source: str, absolute: bytes, path: str, reason: str, detail: str) -> Entry:
    return Entry(source=source, path=path, absolute=absolute, reason=reason, detail=detail)


def _excluding(source: Source, path: str, is_folder: bool) -> str:
    """Return the pattern that leaves `path` out, or ''."""
    for pattern in source.exclude:
        if matches(path, pattern):
            return pattern
    if is_folder or not source.include or any(matches(path, pattern) for pattern in source.include):
        return ""
    return "not included"


def _licence_here(children: list[os.DirEntry[bytes]]) -> str:
    for child in reversed(children):
        if FILE_NAME.fullmatch(child.name.decode("utf-8", "replace")) and child.is_file(follow_symlinks=False):
            try:
                with open(child.path, "rb") as file:
                    text = file.read(_LICENCE_BYTES).decode("utf-8", "replace")
            except OSError:
                continue  # it is listed like every file, and set aside there with its reason
            if licence := file_licence(text):
                return licence
    return ""


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
