"""The files of one writer: append durably, go on after a crash, keep the tree. For one thread at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenworks.core.clock import Clock
from tokenworks.core.errors import ConflictError
from tokenworks.ledger import heads, segment
from tokenworks.ledger.merkle import Frontier, leaf_hash
from tokenworks.ledger.recovery import Tail, recover


class Log:
    """One writer's folder, locked against every other process."""

    def __init__(self, folder: Path, clock: Clock, segment_bytes: int, signer: heads.Signer | None = None) -> None:
        self.folder = folder
        self.broken = False  # after a failed write or sync, what the disk holds is unknown until recovery
        self._clock, self._segment_bytes, self._signer = clock, segment_bytes, signer
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        try:
            self._start(recover(folder, clock, signer) or self._first())
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def size(self) -> int:
        """Entries so far."""
        return self._tree.size

    def append(self, payloads: Sequence[bytes]) -> int:
        """Make the first some of `payloads` durable, as many as one sync may take; return how many, at least one."""
        fitting = self._fitting(payloads)
        if not fitting:
            self._rotate()
            fitting = self._fitting(payloads)
        number = self._tree.size
        batch = b"".join(segment.frames(fitting, number, number))
        self._write(batch)
        self._offset += len(batch)
        self._tree.extend([leaf_hash(payload) for payload in fitting])
        return len(fitting)

    def _fitting(self, payloads: Sequence[bytes]) -> Sequence[bytes]:
        """Return as many of the first payloads as this segment and one batch can take."""
        room = min(segment.MAX_BATCH_BYTES, self._capacity - self._offset)
        for count, payload in enumerate(payloads):
            room -= segment.FRAME.size + len(payload)
            if room < 0:
                return payloads[:count]
        return payloads

    def _write(self, batch: bytes) -> None:
        try:
            written = os.pwrite(self._file, batch, self._offset)
            if written != len(batch):
                raise OSError(f"only {written} of {len(batch)} bytes could be written")
            os.fdatasync(self._file)
        except OSError:
            # A failed sync may have dropped pages that look clean: nothing more goes into this file before recovery.
            self.broken = True
            with contextlib.suppress(OSError):  # the first error is the one that is told
                os.pwrite(self._file, bytes(len(batch)), self._offset)
                os.fdatasync(self._file)
            raise

    def write_head(self) -> None:
        """Record size and root of the tree as they are now."""
        heads.write_latest(self.folder, self._head(self._first_number, self._offset))

    def close(self) -> None:
        """Record the tree and let go of the folder."""
        try:
            if not self.broken:
                self.write_head()
        finally:
            if self._preparing:
                self._preparing.join()
            os.close(self._file)
            os.close(self._lock)

    def _first(self) -> Tail:
        """Begin an empty log: the head first, so that a folder with segments always has one."""
        empty = Frontier()
        heads.write_latest(
            self.folder,
            heads.tree_head(empty, segment=0, offset=segment.HEADER_BYTES, at=self._clock.now(), signer=self._signer),
        )
        path = segment.create(self.folder, 0, self._segment_bytes)
        return Tail(path, empty, segment.HEADER_BYTES)

    def _start(self, tail: Tail) -> None:
        self._tree = tail.tree
        self._preparing: threading.Thread | None = None
        self._open(tail.path, tail.offset)
        self.write_head()

    def _open(self, path: Path, offset: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._path, self._offset = path, offset
        self._capacity = os.fstat(self._file).st_size
        self._first_number = int(path.stem)

    def _rotate(self) -> None:
        """Go on in a new segment. The old one's head is kept first, the new file is whole before it is used."""
        size = self._tree.size
        heads.write_closing(self._path, self._head(size, segment.HEADER_BYTES))
        if self._preparing:
            self._preparing.join()
        spare = self.folder / segment.SPARE
        if not spare.exists() or spare.stat().st_size != self._segment_bytes:
            segment.prepare(self.folder, self._segment_bytes)
        try:
            path = segment.claim(spare, size, self._segment_bytes)
        except OSError:
            self.broken = (self.folder / segment.segment_name(size)).exists()
            raise
        os.close(self._file)
        self._open(path, segment.HEADER_BYTES)
        self._preparing = threading.Thread(target=self._prepare, name="ledger-spare", daemon=True)
        self._preparing.start()

    def _prepare(self) -> None:
        # No room for the next segment yet is no error: `_rotate` tries again and tells whoever waits.
        with contextlib.suppress(OSError):
            segment.prepare(self.folder, self._segment_bytes)

    def _head(self, first: int, offset: int) -> heads.TreeHead:
        now = self._clock.now()
        return heads.tree_head(self._tree, segment=first, offset=offset, at=now, signer=self._signer)


@contextlib.contextmanager
def log_locked(folder: Path) -> Iterator[None]:
    """Keep every writer out of the log; raise `ConflictError` where one is in."""
    handle = _lock(folder)
    try:
        yield
    finally:
        os.close(handle)


def _lock(folder: Path) -> int:
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ConflictError(
            f"ledger {folder}: another process writes there; stop it, or give this one another writer name"
        ) from None
    return handle
