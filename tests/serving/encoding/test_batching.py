"""What waits together is computed together, and everybody gets their own answer."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import EngineError
from tokenworks.serving.encoding.batching import CALL_TOKENS, PADDING, Batcher, by_length


class Echo:
    """A forward that returns the first id and the length of each row, and remembers its batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.sizes: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, ids, lengths):
        time.sleep(self.seconds)
        self.sizes.append(len(ids))
        self.threads.add(threading.get_ident())
        return np.stack([ids[:, 0], lengths], 1).astype(np.float32)


def row(first: int, length: int = 4) -> np.ndarray:
    return np.array([first] + [1] * (length - 1))


async def test_concurrent_requests_share_batches_and_keep_their_answers():
    echo = Echo(0.005)
    batcher = Batcher(echo, max_batch=32)
    answers = await asyncio.gather(*(batcher.run([row(at), row(at + 100)]) for at in range(40)))
    for at, answer in enumerate(answers):
        assert [vector.tolist() for vector in answer] == [[at, 4], [at + 100, 4]]
    assert len(echo.sizes) < 20
    assert max(echo.sizes) <= 32
    await batcher.close()


async def test_the_event_loop_stays_free_while_a_batch_is_computed():
    echo = Echo(0.2)
    batcher = Batcher(echo, max_batch=4)
    working = asyncio.create_task(batcher.run([row(1)]))
    ticks = 0
    while not working.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks > 5
    assert threading.get_ident() not in echo.threads
    await batcher.close()


async def test_a_cancelled_request_is_not_computed():
    echo = Echo(0.05)
    batcher = Batcher(echo, max_batch=4)
    first = asyncio.create_task(batcher.run([row(1)]))
    await asyncio.sleep(0.02)
    gone = asyncio.create_task(batcher.run([row(2)]))
    await asyncio.sleep(0.01)
    gone.cancel()
    await first
    assert (await batcher.run([row(3)]))[0][0] == 3
    assert sum(echo.sizes) == 2
    await batcher.close()


async def test_a_failing_batch_is_answered_and_the_next_one_works():
    def forward(ids, lengths):
        if ids[0, 0] == 666:
            raise RuntimeError("bad luck")
        return ids[:, :1].astype(np.float32)

    batcher = Batcher(forward, max_batch=4)
    with pytest.raises(EngineError, match="bad luck"):
        await batcher.run([row(666)])
    assert (await batcher.run([row(5)]))[0][0] == 5
    await batcher.close()


async def test_closing_fails_those_who_wait_and_refuses_newcomers():
    batcher = Batcher(Echo(0.05), max_batch=1)
    waiting = [asyncio.create_task(batcher.run([row(at)])) for at in range(3)]
    await asyncio.sleep(0.01)
    await batcher.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert any(isinstance(result, EngineError) for result in results)
    assert all(isinstance(result, EngineError | list) for result in results)
    with pytest.raises(EngineError, match="closed"):
        await batcher.run([row(1)])


async def test_no_rows_give_no_vectors():
    batcher = Batcher(Echo(), max_batch=4)
    assert await batcher.run([]) == []
    await batcher.close()


@given(st.lists(st.integers(1, 512), min_size=1, max_size=200), st.integers(1, 64))
def test_batches_by_length_cover_all_rows_and_hardly_pad(lengths, max_batch):
    batches = by_length(lengths, max_batch)
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    for batch in batches:
        real = sum(lengths[at] for at in batch)
        assert len(batch) <= max_batch
        assert len(batch) * max(lengths[at] for at in batch) <= PADDING * real + CALL_TOKENS
