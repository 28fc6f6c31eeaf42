"""Many small requests to few full batches: what waits together is computed together, sorted by length."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tokenworks.core.errors import EngineError
from tokenworks.metering.attribution.account import Work
from tokenworks.metering.attribution.split import split

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Forward = Callable[[Ints, Ints], Floats]
ROUND_TOKENS = 4096  # most tokens taken from the queue at once: bounds how long a newcomer waits
WINDOW_S = 0.002  # most time that a batch waits for those who were in the last one
PADDING = 1.25  # a batch is split where padding would cost more than this ...
CALL_TOKENS = 256  # ... and more than another call of the graph: about as much as so many tokens


@dataclass(eq=False)
class _Job:
    """One request: its rows, and the vectors found so far."""

    rows: Sequence[Ints]
    done: asyncio.Future[list[Floats]]
    work: Work | None = None
    vectors: dict[int, Floats] = field(default_factory=dict)


class Batcher:
    """Runs `forward` in a thread of its own over whatever has gathered since the last round.

    There is no fixed waiting: a lone request is computed at once. Only after a round of several requests does the
    next one wait, at most `WINDOW_S`, until as many are back: closed-loop clients answer within a millisecond.
    """

    def __init__(self, forward: Forward, *, max_batch: int, pad_id: int = 0) -> None:
        self._forward = forward
        self._max_batch = max_batch
        self._pad_id = pad_id
        self._thread = ThreadPoolExecutor(1, "encoder")
        self._waiting: deque[tuple[_Job, int]] = deque()
        self._arrivals = 0
        self._arrived = asyncio.Event()
        self._expected = 1
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def run(self, rows: Sequence[Ints], work: Work | None = None) -> list[Floats]:
        """Return a unit vector for each row of token ids; what that takes goes to `work`."""
        if self._closed:
            raise EngineError("the encoder is closed; start it again")
        if not rows:
            return []
        if self._task is None:
            self._task = asyncio.create_task(self._serve())
        job = _Job(rows, asyncio.get_running_loop().create_future(), work)
        self._waiting.extend((job, at) for at in range(len(rows)))
        self._arrivals += 1
        self._arrived.set()
        return await job.done

    async def close(self) -> None:
        """Stop; requests still waiting fail with `EngineError`."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for job, _ in self._waiting:
            if not job.done.done():
                job.done.set_exception(EngineError("the encoder was closed before the request was computed"))
        self._waiting.clear()
        self._thread.shutdown(wait=True)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._gather()
            taken = self._take()
            try:
                vectors = await loop.run_in_executor(self._thread, self._metered, taken)
            except asyncio.CancelledError:
                self._waiting.extendleft(reversed(taken))
                raise
            except Exception as error:  # noqa: BLE001  the border to foreign native code: answered, not swallowed
                self._fail(taken, error)
                continue
            self._deliver(taken, vectors)

    async def _gather(self) -> None:
        """Wait for the first request, then briefly for those who were here the last time."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        deadline = asyncio.get_running_loop().time() + WINDOW_S
        while self._arrivals < self._expected:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                break

    def _take(self) -> list[tuple[_Job, int]]:
        """Return the oldest rows, as many as a round may have; cancelled requests fall out here."""
        taken: list[tuple[_Job, int]] = []
        tokens = 0
        while self._waiting and (not taken or tokens < ROUND_TOKENS):
            job, at = self._waiting.popleft()
            if not job.done.done():
                taken.append((job, at))
                tokens += len(job.rows[at])
        self._expected = len({id(job) for job, _ in taken})
        self._arrivals = len({id(job) for job, _ in self._waiting})
        return taken

    def _metered(self, taken: list[tuple[_Job, int]]) -> list[Floats]:
        """Return the vectors of the rows taken, in the thread; the time goes to those who asked, by tokens.

        A call costs about as much as `CALL_TOKENS` by itself: that floor all carry equally.
        """
        rows, works = [job.rows[at] for job, at in taken], [job.work for job, _ in taken]
        account = next((work.account for work in works if work is not None), None)
        if account is None:
            return self._compute(rows)
        began_s = account.enter()
        try:
            return self._compute(rows)
        finally:
            account.leave(began_s, partial(_shares, rows, works))
            _trace(works, began_s)

    def _compute(self, rows: list[Ints]) -> list[Floats]:
        """Return the vectors of `rows`, in the thread: shortest first, in batches that hardly pad."""
        vectors: list[Floats] = [np.empty(0, np.float32)] * len(rows)
        for chosen in by_length([len(row) for row in rows], self._max_batch):
            ids, lengths = padded([rows[at] for at in chosen], self._pad_id)
            for at, vector in zip(chosen, self._forward(ids, lengths), strict=True):
                vectors[at] = vector
        return vectors

    def _deliver(self, taken: list[tuple[_Job, int]], vectors: list[Floats]) -> None:
        for (job, at), vector in zip(taken, vectors, strict=True):
            job.vectors[at] = vector
            if len(job.vectors) == len(job.rows) and not job.done.done():
                job.done.set_result([job.vectors[place] for place in range(len(job.rows))])

    def _fail(self, taken: list[tuple[_Job, int]], error: Exception) -> None:
        for job, _ in taken:
            if not job.done.done():
                job.done.set_exception(EngineError(f"the encoder failed on a batch of {len(taken)} texts: {error}"))


def _trace(works: Sequence[Work | None], began_s: float) -> None:
    """Tell those who are traced of the round that began at `began_s` and has ended."""
    traced = {work: work.timeline for work in works if work is not None and work.timeline is not None}
    if not traced:
        return
    ended_s, together = time.monotonic(), len(set(works))
    for timeline in traced.values():
        timeline.taken(began_s)
        timeline.read(ended_s)
        timeline.prefill.add(1, together)


def _shares(rows: Sequence[Ints], works: Sequence[Work | None], seconds: float) -> list[tuple[Work, float]]:
    """Return how `seconds` of computing `rows` are split among those who asked for them."""
    tokens: dict[Work, int] = {}
    for row, work in zip(rows, works, strict=True):
        if work is not None:
            tokens[work] = tokens.get(work, 0) + len(row)
    token_s = seconds / (CALL_TOKENS + sum(tokens.values()))
    return list(zip(tokens, split(seconds, [count * token_s for count in tokens.values()]), strict=True))


def by_length(lengths: Sequence[int], max_batch: int) -> list[list[int]]:
    """Return row numbers in batches of similar length, shortest first; each at most `max_batch` rows."""
    batches: list[list[int]] = []
    real = 0
    for at in sorted(range(len(lengths)), key=lengths.__getitem__):
        batch = batches[-1] if batches else []
        padded_size = (len(batch) + 1) * lengths[at]
        if not batches or len(batch) == max_batch or padded_size > PADDING * (real + lengths[at]) + CALL_TOKENS:
            batches.append([at])
            real = lengths[at]
        else:
            batch.append(at)
            real += lengths[at]
    return batches


def padded(rows: Sequence[Ints], pad_id: int) -> tuple[Ints, Ints]:
    """Return ids [rows, longest] and the length of each row."""
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.full((len(rows), int(lengths.max())), pad_id, np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
    return ids, lengths
