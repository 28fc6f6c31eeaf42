"""Prompts, answers and corrections, beside the log, each sealed with the key of whose it is.

A text is with the operating system when `put` returns, so a killed process loses nothing; it is not synced, because it
is the log that must survive a power cut. Any number of processes may write and read at once, each to a file of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import msgspec
import zstandard

from tokenworks.core.errors import IntegrityError, StoreError
from tokenworks.ledger.blank import blank
from tokenworks.ledger.growing import Growing, label_of
from tokenworks.ledger.shelf import ERASED, MAX_TEXT_BYTES, SEALED, SUFFIX, Found, Shelf, erased, record
from tokenworks.ledger.vault import Subject, Vault

FILE_BYTES = 64 << 20
FILE_S = 86_400.0  # a file's texts are dropped together when they are old, so it takes those of one day
NOBODY = Subject()
_SIGN = "\0"  # between tenant and id: in neither
_pair = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode


def named(tenant: str, request_id: str) -> str:
    """Return the name of a request's texts: callers choose ids, and two tenants may choose the same."""
    return f"{tenant}{_SIGN}{request_id}" if tenant else request_id


class Bodies:
    """Texts by the name of their request (see `named`) or the id of feedback. The last one stored counts.

    With a vault texts are sealed; those from before it are read as they are.
    """

    def __init__(
        self, root: Path, *, vault: Vault | None = None, file_bytes: int = FILE_BYTES, file_s: float = FILE_S
    ) -> None:
        self._root, self._vault, self._file_bytes, self._file_s = root, vault, file_bytes, file_s
        self._shelves: dict[str, Shelf] = {}
        self._growing: dict[str, Growing] = {}  # by label; made with the first text: a reader leaves no file behind
        self._lock = threading.Lock()
        self._compressor = zstandard.ZstdCompressor(level=1)
        with self._explained():
            root.mkdir(parents=True, exist_ok=True)
            self._index_abandoned()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def put(self, request: str, prompt: bytes, answer: bytes, subject: Subject = NOBODY) -> None:
        """Keep what was asked and answered. Raises `StoreError`; then nothing of it is kept."""
        self._append(b"r" + request.encode(), msgspec.msgpack.encode((prompt, answer)), subject)

    def get(self, request: str) -> tuple[bytes, bytes] | None:
        """Return prompt and answer, or None where they were not kept, or were erased."""
        packed = self._find(b"r" + request.encode())
        if packed is None and _SIGN in request:  # from before tenants were told apart?
            packed = self._find(b"r" + _unnamed(request).encode())
        return None if packed is None else _pair(packed)

    def put_correction(self, feedback_id: str, text: str, subject: Subject = NOBODY) -> None:
        """Keep what the answer should have been. Raises `StoreError`; then nothing of it is kept."""
        self._append(b"c" + feedback_id.encode(), text.encode(), subject)

    def get_correction(self, feedback_id: str) -> str | None:
        """Return the correction, or None where there is none."""
        text = self._find(b"c" + feedback_id.encode())
        return None if text is None else text.decode()

    def get_many(self, requests: Iterable[str]) -> dict[str, tuple[bytes, bytes]]:
        """Return prompt and answer of those that are kept: for thousands, a hundred times as fast as one by one."""
        wanted = list(requests)
        found = self._find_many(b"r", wanted)
        left = [name for name in wanted if name not in found and _SIGN in name]  # from before tenants were told apart?
        old = self._find_many(b"r", (_unnamed(name) for name in left)) if left else {}
        packed = {name: found[name] if name in found else old.get(_unnamed(name)) for name in wanted}
        return {name: _pair(text) for name, text in packed.items() if text is not None}

    def get_corrections(self, feedback_ids: Iterable[str]) -> dict[str, str]:
        """Return the corrections that are kept."""
        return {name: text.decode() for name, text in self._find_many(b"c", feedback_ids).items()}

    def erase_requests(self, requests: Iterable[str]) -> int:
        """Overwrite prompts and answers, at once and for good; return how many texts were still there.

        Beside any writers and readers. Killed in between, the same call finishes it. Raises `StoreError`.
        """
        names = list(requests)
        old = [_unnamed(name) for name in names if _SIGN in name]  # where they were before tenants were told apart
        return self._erase({b"r" + name.encode() for name in names}, {b"r" + name.encode() for name in old})

    def erase_corrections(self, feedback_ids: Iterable[str]) -> int:
        """Overwrite corrections and comments, as `erase_requests` does with prompts."""
        names = [each.encode() for each in feedback_ids]
        return self._erase({b"c" + name + ending for name in names for ending in (b"", b".comment")})

    def erase_subject(self, tenant: str, user: str, *, until: float) -> bool:
        """Destroy the subject's key if it is from before that Unix time; return whether there was one."""
        return self._vault is not None and self._vault.erase(tenant, user, until=until)

    def is_erased(self, request: str) -> bool:
        """Return whether the texts of the request were erased, or would have been had they been kept."""
        names = [request, _unnamed(request)] if _SIGN in request else [request]
        return any(self._has_mark(name) for name in names)

    def labels(self) -> set[str]:
        """Return the labels of the files that are here; the empty one stands for those older than the distinction."""
        return {label_of(path) for path in self._root.glob(f"*{SUFFIX}")}

    def count_older(self, before: float, label: str | None = None, *, held: Sequence[Subject] = ()) -> int:
        """Return how many texts `drop_older` would drop."""
        with self._lock, self._explained():
            return sum(self._going(path, held)[0] for path in self._older(before, label))

    def drop_older(self, before: float, label: str | None = None, *, held: Sequence[Subject] = ()) -> int:
        """Delete the files (of one label) whose last text was put before that Unix time; return how many texts went.

        Texts of the subjects `held` stay; without a user, a subject is its whole tenant. A file that a living process
        of somebody else's may still add to is left for the next time.
        """
        with self._lock, self._explained():
            drop = partial(self._drop_but, held=held) if held else self._drop
            dropped = sum(drop(path) for path in self._older(before, label))
            for path in self._root.glob("*.index"):  # of a file that a killed sweep had deleted
                if not path.with_suffix(SUFFIX).exists():
                    path.unlink(missing_ok=True)
        return dropped

    def _older(self, before: float, label: str | None) -> list[Path]:
        for name, growing in list(self._growing.items()):
            if growing.path.stat().st_mtime < before:
                self._finish(name)
        paths = [path for path in sorted(self._root.glob(f"*{SUFFIX}")) if path.stat().st_mtime < before]
        return paths if label is None else [path for path in paths if label_of(path) == label]

    def close(self) -> None:
        """Sync what was written and let go."""
        with self._lock, self._explained():
            for label in list(self._growing):
                self._finish(label)

    def _append(self, key: bytes, text: bytes, subject: Subject) -> None:
        if len(text) > MAX_TEXT_BYTES:
            raise StoreError(f"a text of {len(text)} bytes; {MAX_TEXT_BYTES} is the most that is kept beside the log")
        seal = None if self._vault is None else partial(self._vault.seal, subject)
        with self._lock, self._explained():
            # Within the lock: a compressor serves one thread at a time.
            self._add(record(key, text, self._compressor, seal), subject.label)

    def _add(self, data: bytes, label: str) -> None:
        growing = self._growing.get(label)
        if growing is not None and growing.is_over(len(data), self._file_bytes, self._file_s):
            self._finish(label)
            growing = None
        if growing is None:
            growing = self._growing[label] = Growing(self._root, label)
        growing.write(data)

    def _has_mark(self, request: str) -> bool:
        key = b"r" + request.encode()
        with self._lock, self._explained():
            return any(self._shelf(path).is_erased(key) for path in self._root.glob(f"*{SUFFIX}"))

    def _erase(self, names: set[bytes], old: Collection[bytes] = ()) -> int:
        """Overwrite every text under `names` and `old`; of requests that have none, leave a mark under their names."""
        count, known, keys = 0, set[bytes](), names.union(old)
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
            for key in sorted(names - known):
                if key.startswith(b"r"):
                    self._add(erased(key), "")
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

    def _drop_but(self, path: Path, held: Sequence[Subject]) -> int:
        """Overwrite all texts of a file but those of `held`; delete it where none of them are there."""
        count, keys = self._going(path, held)
        if keys is None:
            return self._drop(path)
        return blank(path, keys).texts if count else 0

    def _going(self, path: Path, held: Sequence[Subject]) -> tuple[int, set[bytes] | None]:
        """Return how many texts of a file go and under which keys; None where all of the file may."""
        if not held:
            return self._shelf(path).count(), None
        keys, stay = set[bytes](), set[bytes]()
        for found in self._shelf(path).all():
            if found.form != ERASED:
                (stay if any(self._is_of(found, one) for one in held) else keys).add(found.key)
        return (len(keys - stay), keys - stay) if stay else (self._shelf(path).count(), None)

    def _is_of(self, found: Found, subject: Subject) -> bool:
        """Return whether a text is under the subject; one that does not say whose it is may be."""
        tenant, sign, _ = found.key[1:].partition(_SIGN.encode())
        if sign and tenant != subject.tenant.encode():
            return False
        if sign and not subject.user:
            return True
        if found.form != SEALED or self._vault is None:
            return True
        if not subject.user:
            return True
        return self._vault.is_of(found.text, subject.tenant, subject.user)

    def _finish(self, label: str) -> None:
        growing = self._growing.pop(label)
        try:
            growing.sync()
            self._shelf(growing.path).write_index()
        finally:
            growing.close()

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
        return self._shelves.setdefault(path.name, Shelf(path, self._vault))

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


def _unnamed(name: str) -> str:
    return name.partition(_SIGN)[2]
