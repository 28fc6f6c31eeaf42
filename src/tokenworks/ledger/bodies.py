"""Prompts, answers and corrections, beside the log.

A text is with the operating system when `put` returns, so a killed process loses nothing; it is not synced, because it
is the log that must survive a power cut. Any number of processes may write and read at once, each to a file of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import msgspec
import zstandard

from tokenworks.core.errors import IntegrityError, StoreError
from tokenworks.core.ids import new_id
from tokenworks.ledger.blank import blank
from tokenworks.ledger.shelf import MAX_TEXT_BYTES, SUFFIX, Shelf, erased, record

FILE_BYTES = 64 << 20
FILE_S = 86_400.0  # a file's texts are dropped together when they are old, so it takes those of one day
_pair = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode


class Bodies:
    """Texts by the id of their request or feedback. The last one stored under an id counts."""

    def __init__(self, root: Path, *, file_bytes: int = FILE_BYTES, file_s: float = FILE_S) -> None:
        self._root, self._file_bytes, self._file_s = root, file_bytes, file_s
        self._begun_s = 0.0
        self._shelves: dict[str, Shelf] = {}
        self._file: int | None = None  # made with the first text: a reader leaves no file behind
        self._path = root
        self._size = 0
        self._lock = threading.Lock()
        self._compressor = zstandard.ZstdCompressor(level=1)
        with self._explained():
            root.mkdir(parents=True, exist_ok=True)
            self._index_abandoned()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def put(self, request_id: str, prompt: bytes, answer: bytes) -> None:
        """Keep what was asked and answered. Raises `StoreError`; then nothing of it is kept."""
        self._append(b"r" + request_id.encode(), msgspec.msgpack.encode((prompt, answer)))

    def get(self, request_id: str) -> tuple[bytes, bytes] | None:
        """Return prompt and answer, or None where they were not kept."""
        packed = self._find(b"r" + request_id.encode())
        return None if packed is None else _pair(packed)

    def put_correction(self, feedback_id: str, text: str) -> None:
        """Keep what the answer should have been. Raises `StoreError`; then nothing of it is kept."""
        self._append(b"c" + feedback_id.encode(), text.encode())

    def get_correction(self, feedback_id: str) -> str | None:
        """Return the correction, or None where there is none."""
        text = self._find(b"c" + feedback_id.encode())
        return None if text is None else text.decode()

    def get_many(self, request_ids: Iterable[str]) -> dict[str, tuple[bytes, bytes]]:
        """Return prompt and answer of those that are kept: for thousands, a hundred times as fast as one by one."""
        found = self._find_many(b"r", request_ids)
        return {name: _pair(packed) for name, packed in found.items()}

    def get_corrections(self, feedback_ids: Iterable[str]) -> dict[str, str]:
        """Return the corrections that are kept."""
        return {name: text.decode() for name, text in self._find_many(b"c", feedback_ids).items()}

    def erase_requests(self, request_ids: Iterable[str]) -> int:
        """Overwrite prompts and answers, at once and for good; return how many texts were still there.

        Beside any writers and readers. Killed in between, the same call finishes it. Raises `StoreError`.
        """
        return self._erase({b"r" + each.encode() for each in request_ids})

    def erase_corrections(self, feedback_ids: Iterable[str]) -> int:
        """Overwrite corrections and comments, as `erase_requests` does with prompts."""
        names = [each.encode() for each in feedback_ids]
        return self._erase({b"c" + name + ending for name in names for ending in (b"", b".comment")})

    def is_erased(self, request_id: str) -> bool:
        """Return whether the texts of the request were erased, or would have been had they been kept."""
        key = b"r" + request_id.encode()
        with self._lock, self._explained():
            return any(self._shelf(path).is_erased(key) for path in self._root.glob(f"*{SUFFIX}"))

    def count_older(self, before: float) -> int:
        """Return how many texts `drop_older` would drop."""
        with self._lock, self._explained():
            return sum(self._shelf(path).count() for path in self._older(before))

    def drop_older(self, before: float) -> int:
        """Delete the files whose last text was put before that Unix time; return how many texts they held.

        A file that a living process of somebody else's may still add to is left for the next time.
        """
        with self._lock, self._explained():
            dropped = sum(self._drop(path) for path in self._older(before))
            for path in self._root.glob("*.index"):  # of a file that a killed sweep had deleted
                if not path.with_suffix(SUFFIX).exists():
                    path.unlink(missing_ok=True)
        return dropped

    def _older(self, before: float) -> list[Path]:
        if self._file is not None and self._path.stat().st_mtime < before:
            self._finish()
        return [path for path in sorted(self._root.glob(f"*{SUFFIX}")) if path.stat().st_mtime < before]

    def close(self) -> None:
        """Sync what was written and let go."""
        with self._lock, self._explained():
            self._finish()

    def _append(self, key: bytes, text: bytes) -> None:
        if len(text) > MAX_TEXT_BYTES:
            raise StoreError(f"a text of {len(text)} bytes; {MAX_TEXT_BYTES} is the most that is kept beside the log")
        with self._lock, self._explained():
            data = record(key, text, self._compressor)  # within the lock: a compressor serves one thread at a time
            self._add(data)

    def _add(self, data: bytes) -> None:
        too_large = self._size + len(data) > self._file_bytes
        if self._file is not None and (too_large or time.monotonic() - self._begun_s > self._file_s):
            self._finish()
        if self._file is None:
            self._begin()
        assert self._file is not None
        self._write(self._file, data)

    def _erase(self, keys: set[bytes]) -> int:
        """Overwrite every text under `keys`; leave a mark for requests that have none, so that they too are known."""
        count, known = 0, set[bytes]()
        with self._lock, self._explained():
            for path in sorted(self._root.glob(f"*{SUFFIX}")):
                places = self._shelf(path).places(keys) if keys else []
                if not places:
                    continue
                done = blank(path, keys)
                if max(places) >= done.stop:
                    raise IntegrityError(
                        f"{path}: damaged at byte {done.stop}, so what follows cannot be looked through; "
                        "restore the file from a backup, then erase again"
                    )
                count, known = count + done.texts, known | done.keys
            for key in sorted(keys - known):
                if key.startswith(b"r"):
                    self._add(erased(key))
        return count

    def _drop(self, path: Path) -> int:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # its writer is alive and may add to it: the day after will do
                return 0
            count = self._shelf(path).count()
            path.unlink()
            path.with_suffix(".index").unlink(missing_ok=True)
            self._shelves.pop(path.name, None)
        return count

    def _write(self, file: int, data: bytes) -> None:
        try:
            written = os.write(file, data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes could be written")
        except OSError:
            os.ftruncate(file, self._size)
            raise
        self._size += written

    def _begin(self) -> None:
        self._path = self._root / f"{new_id('b')}{SUFFIX}"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # tells others that it still grows
        self._size, self._begun_s = 0, time.monotonic()

    def _finish(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            os.fsync(file)
            self._shelf(self._path).write_index()
        finally:
            os.close(file)

    def _find(self, key: bytes) -> bytes | None:
        with self._lock, self._explained():
            for path in sorted(self._root.glob(f"*{SUFFIX}"), reverse=True):  # newest first
                found = self._shelf(path).find(key)
                if found is not None:
                    return found
        return None

    def _find_many(self, prefix: bytes, ids: Iterable[str]) -> dict[str, bytes]:
        wanted, found = {prefix + each.encode() for each in ids}, dict[str, bytes]()
        with self._lock, self._explained():
            for path in sorted(self._root.glob(f"*{SUFFIX}"), reverse=True):  # newest first
                if not wanted:
                    break
                here = dict(self._shelf(path).find_many(wanted))
                found.update((key[1:].decode(), text) for key, text in here.items())
                wanted -= here.keys()
        return found

    def _shelf(self, path: Path) -> Shelf:
        return self._shelves.setdefault(path.name, Shelf(path))

    def _index_abandoned(self) -> None:
        """Index the files of writers that were killed."""
        for path in self._root.glob(f"*{SUFFIX}"):
            shelf = self._shelf(path)
            if shelf.index_path.exists():
                continue
            with path.open("rb") as file, contextlib.suppress(BlockingIOError):  # still growing: not abandoned
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shelf.write_index()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"bodies {self._root}: {reason}; free some space or mend the permissions there") from error
