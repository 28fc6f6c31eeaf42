"""Write to the ledger from threads and from asyncio: many wait, one thread syncs. Durable when told so, or an error."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from tokenworks.core.clock import Clock, SystemClock
from tokenworks.core.errors import StoreError
from tokenworks.ledger.checkpoint import LogSigner
from tokenworks.ledger.entries import Entry
from tokenworks.ledger.log import Log
from tokenworks.ledger.note import SignerKey
from tokenworks.ledger.position import Position
from tokenworks.ledger.receipt import give
from tokenworks.ledger.segment import FRAME, HEADER_BYTES, MAX_ENTRY_BYTES

HEAD_EVERY_S = 1.0
_encode = msgspec.msgpack.Encoder().encode


Told = Callable[[Position | StoreError], None]


class _Waiting(NamedTuple):
    payload: bytes
    tell: Told
    loop: asyncio.AbstractEventLoop | None  # on which it is told; None: on the thread that writes


class Ledger:
    """The one writer of a name. Entries that wait together are synced together (group commit).

    `segment_bytes` is the size of a file; `key` signs the checkpoints, at most one a second. Raises `ConflictError`
    where another process has the name, and `IntegrityError` where the log is damaged or not signed with that key.
    """

    def __init__(
        self,
        root: Path,
        writer: str,
        *,
        clock: Clock | None = None,
        segment_bytes: int = 16 << 20,
        key: SignerKey | None = None,
    ) -> None:
        self._clock: Clock = clock or SystemClock()
        self._writer, self._key = writer, key
        self._log = _open_log(root / writer, self._clock, segment_bytes, LogSigner(key, writer) if key else None)
        self._lock = threading.Lock()
        self._state = threading.Condition(self._lock)
        self._pending: list[_Waiting] = []
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}  # each touched by its loop's thread alone
        self._in_hand: list[_Waiting] = []
        self._idle = self._closed = self._head_due = False
        self._head_at = self._clock.monotonic()
        self._close_error: OSError | None = None
        self._max_entry = min(MAX_ENTRY_BYTES, segment_bytes - HEADER_BYTES - FRAME.size)
        self._flusher = threading.Thread(target=self._guarded, name=f"ledger-{writer}", daemon=True)
        self._flusher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def writer(self) -> str:
        """The name of the log."""
        return self._writer

    @property
    def size(self) -> int:
        """Entries that are durable."""
        return self._log.size

    def append(self, entry: Entry) -> Position:
        """Write `entry`; return its place once it is durable. Raises `StoreError`, e.g. for a full disk."""
        return self.submit(entry).result()

    def submit(self, entry: Entry) -> Future[Position]:
        """Queue `entry`; the future is done once it is durable, or holds a `StoreError`."""
        future: Future[Position] = Future()
        future.set_running_or_notify_cancel()  # what is queued is written: too late to cancel
        self._enqueue(_Waiting(_encode(entry), partial(_resolve, future), None))
        return future

    def enqueue(self, entry: Entry) -> asyncio.Future[Position]:
        """Queue `entry`; the future of the running loop holds its place once it is durable, or a `StoreError`.

        Cancelling the future does not undo the entry.
        """
        future: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        self.enqueue_told(entry, partial(_resolve, future))
        return future

    def enqueue_told(self, entry: Entry, tell: Told) -> None:
        """Queue `entry`; `tell` is called on the running loop with its place once it is durable, or a `StoreError`."""
        loop = asyncio.get_running_loop()
        self._enqueue_soon(_Waiting(_encode(entry), tell, loop), loop)

    def record(self, entry: Entry) -> Awaitable[Position]:
        """Write `entry`; wait for its place until it is durable. Cancelling the wait does not undo the entry."""
        return self.enqueue(entry)

    def receipt(self, entry: Entry, position: Position, request_id: str) -> str:
        """Return the signed promise that `entry` stands at `position`; empty where the ledger has no key."""
        if self._key is None:
            return ""
        return give(self._key, position, _encode(entry), request_id, self._clock.now())

    def close(self) -> None:
        """Write what waits, record the tree, let go. Raises `StoreError` where the tree could not be recorded."""
        with self._state:
            self._closed = True
            self._state.notify()
        self._flusher.join()
        if self._close_error is not None:
            error, self._close_error = self._close_error, None
            raise self._explained(error)

    def _enqueue(self, waiting: _Waiting) -> None:
        self._check_size(waiting)
        with self._lock:
            if self._closed:
                raise self._shut()
            self._pending.append(waiting)
            if self._idle:
                self._state.notify()

    def _enqueue_soon(self, waiting: _Waiting, loop: asyncio.AbstractEventLoop) -> None:
        """Queue what one turn of `loop` brings together: the thread that writes is woken once for all of it."""
        self._check_size(waiting)
        if self._closed:
            raise self._shut()
        gathered = self._gathered.get(loop)
        if gathered is None:
            self._gathered[loop] = [waiting]
            loop.call_soon(self._hand_over, loop)
        else:
            gathered.append(waiting)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        gathered = self._gathered.pop(loop)
        with self._lock:
            closed = self._closed
            if not closed:
                self._pending += gathered
                if self._idle:
                    self._state.notify()
        if closed:
            _tell([(waiting.tell, self._shut()) for waiting in gathered])

    def _check_size(self, waiting: _Waiting) -> None:
        if (size := len(waiting.payload)) > self._max_entry:
            raise StoreError(f"an entry of {size} bytes where {self._max_entry} fit: texts go beside the log")

    def _shut(self) -> StoreError:
        return StoreError(f"ledger {self._log.folder} is closed; open it again to write")

    def _guarded(self) -> None:
        """Never leave anybody waiting, whatever ends the thread."""
        try:
            self._run()
        finally:
            with self._state:
                self._closed = True
                left, self._pending = [*self._in_hand, *self._pending], []
            ended = OSError("the thread that writes has ended unexpectedly")
            _settle(left, [self._explained(ended) for _ in left])

    def _run(self) -> None:
        """Take all that waits, sync it, tell; until closed and empty."""
        while True:
            batch, closing = self._next()
            if batch:
                self._commit(batch)
            elif closing:
                break
            elif self._head_due:
                self._try_head()
        try:
            self._log.close()
        except OSError as error:
            self._close_error = error

    def _next(self) -> tuple[list[_Waiting], bool]:
        with self._state:
            if not self._pending and not self._closed:
                self._idle = True
                self._state.wait(self._until_head())
                self._idle = False
            batch, self._pending = self._pending, []
            return batch, self._closed

    def _until_head(self) -> float | None:
        if not self._head_due:
            return None
        return max(0.0, self._head_at + HEAD_EVERY_S - self._clock.monotonic())

    def _commit(self, batch: list[_Waiting]) -> None:
        self._in_hand = batch
        try:
            self._check()
            while batch := self._in_hand:
                first = self._log.size
                count = self._log.append([waiting.payload for waiting in batch])
                self._head_due = True
                self._in_hand = batch[count:]
                _settle(batch[:count], [Position(self._writer, first + n) for n in range(count)])
        except OSError as error:
            failed, self._in_hand = self._in_hand, []
            _settle(failed, [self._explained(error) for _ in failed])

    def _check(self) -> None:
        """Raise where nothing may be acknowledged: after a failed sync, or when the tree cannot be recorded."""
        if self._log.broken:
            raise OSError(
                "an earlier write failed, and what the disk holds is unknown until the ledger is opened again"
            )
        if self._head_due and self._until_head() == 0.0:
            self._write_head()

    def _try_head(self) -> None:
        try:
            if self._until_head() == 0.0 and not self._log.broken:
                self._write_head()
        except OSError:
            # Nobody waits whom it could be told: the next entry will be refused by `_check` if it fails again.
            self._head_at = self._clock.monotonic()

    def _write_head(self) -> None:
        self._log.write_head()
        self._head_at = self._clock.monotonic()
        self._head_due = False

    def _explained(self, error: OSError) -> StoreError:
        reason = error.strerror or str(error)
        told = StoreError(
            f"ledger {self._log.folder}: {reason}; the entry was not recorded. "
            "Free some space or mend the disk, then start again"
        )
        told.__cause__ = error
        return told


def _open_log(folder: Path, clock: Clock, segment_bytes: int, signer: LogSigner | None) -> Log:
    try:
        return Log(folder, clock, segment_bytes, signer)
    except OSError as error:
        raise StoreError(
            f"ledger {folder}: {error.strerror or error}; free some space or mend the permissions there"
        ) from error


def _settle(waiting: Sequence[_Waiting], results: Sequence[Position | StoreError]) -> None:
    """Tell every waiter; each event loop is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Told, Position | StoreError]]] = {}
    for (_, tell, loop), result in zip(waiting, results, strict=True):
        if loop is None:
            tell(result)
        else:
            by_loop.setdefault(loop, []).append((tell, result))
    for loop, pairs in by_loop.items():
        if not loop.is_closed():  # nobody is left to tell; the entry is kept all the same
            loop.call_soon_threadsafe(_tell, pairs)


def _tell(pairs: list[tuple[Told, Position | StoreError]]) -> None:
    for tell, result in pairs:
        try:
            tell(result)
        except Exception as error:  # noqa: BLE001  # whoever is told may fail; those after it are told all the same
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "an entry's writer could not be told", "exception": error})


def _resolve(future: Any, result: Position | StoreError) -> None:
    """Settle a future of concurrent.futures or of asyncio, unless its waiter was cancelled."""
    if future.done():
        return
    if isinstance(result, StoreError):
        future.set_exception(result)
    else:
        future.set_result(result)
