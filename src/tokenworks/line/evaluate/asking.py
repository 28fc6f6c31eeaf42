"""Ask a model every gold item through `answer`, as any caller would. Nothing is retried; a failure is recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec

from tokenworks.core.request import Answer, Answerer, Request
from tokenworks.core.stage import Progress

T = TypeVar("T")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back to one request, with its times in seconds."""

    body: dict[str, Any] = {}
    latency_s: float = 0.0
    ttft_s: float = 0.0
    tokens: int = 0  # completion tokens
    error: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """All replies, in the order of the requests, and how long they took together."""

    replies: list[Reply]
    seconds: float


def asker(answer: Answerer, loop: asyncio.AbstractEventLoop | None) -> Answerer:
    """Return `answer` so that it can be awaited in a loop of our own while the work runs in `loop`."""
    if loop is None:
        return answer

    async def across(request: Request) -> Answer:
        future: Future[Answer] = asyncio.run_coroutine_threadsafe(_call(answer, request), loop)
        return await asyncio.wrap_future(future)

    return across


def ask_all(
    answer: Answerer, requests: Sequence[Request], *, concurrency: int, progress: Progress, note: str = ""
) -> Asked:
    """Send `requests`, at most `concurrency` at a time, and wait for all."""
    return asyncio.run(_ask_all(answer, requests, max(1, concurrency), progress, note))


def ask_one_by_one(
    answer: Answerer, requests: Sequence[Request], *, budget_s: float, progress: Progress
) -> list[Reply]:
    """Send `requests` one after the other until `budget_s` seconds are spent; return the replies there are."""
    return asyncio.run(_ask_one_by_one(answer, requests, budget_s, progress))


def ask_in_turns(
    answer: Answerer, one: Sequence[Request], other: Sequence[Request], *, budget_s: float, progress: Progress
) -> list[tuple[Reply, Reply]]:
    """Send each question of `one` and of `other`, now this first and now that, until `budget_s` seconds are spent.

    The first question is asked once more before, so that both are warm.
    """
    return asyncio.run(_ask_in_turns(answer, one, other, budget_s, progress))


async def _ask_in_turns(
    answer: Answerer, one: Sequence[Request], other: Sequence[Request], budget_s: float, progress: Progress
) -> list[tuple[Reply, Reply]]:
    for request in (*one[:1], *other[:1]):
        await _ask(answer, request)
    started, found = time.perf_counter(), list[tuple[Reply, Reply]]()
    for mine, theirs in zip(one, other, strict=True):
        if len(found) % 2:
            second, first = await _ask(answer, theirs), await _ask(answer, mine)
        else:
            first, second = await _ask(answer, mine), await _ask(answer, theirs)
        found.append((first, second))
        progress(len(found), len(one), unit="items", note="latency, in turns")
        if time.perf_counter() - started > budget_s:
            break
    return found


async def _ask_one_by_one(
    answer: Answerer, requests: Sequence[Request], budget_s: float, progress: Progress
) -> list[Reply]:
    started, replies = time.perf_counter(), list[Reply]()
    for request in requests:
        replies.append(await _ask(answer, request))
        progress(len(replies), len(requests), unit="items", note="latency, one at a time")
        if time.perf_counter() - started > budget_s:
            break
    return replies


async def _ask_all(
    answer: Answerer, requests: Sequence[Request], concurrency: int, progress: Progress, note: str
) -> Asked:
    replies: list[Reply] = [Reply(error="not asked")] * len(requests)
    waiting = iter(range(len(requests)))
    done = 0

    async def worker() -> None:
        nonlocal done
        for index in waiting:
            replies[index] = await _ask(answer, requests[index])
            done += 1
            progress(done, len(requests), unit="items", note=note)

    started = time.perf_counter()
    await _together(worker, min(concurrency, len(requests)))
    return Asked(replies=replies, seconds=time.perf_counter() - started)


async def _together(worker: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(worker())


async def _ask(answer: Answerer, request: Request) -> Reply:
    started = time.perf_counter()
    try:
        got = await answer(request)
    except Exception as error:  # noqa: BLE001 - the border to whatever answers: its failure is a wrong answer, on record
        return Reply(latency_s=time.perf_counter() - started, error=f"{type(error).__name__}: {error}"[:300])
    latency_s = time.perf_counter() - started
    ttft_s = got.ttft_s or latency_s
    if not got.ok:
        return Reply(latency_s=latency_s, ttft_s=ttft_s, error=f"status {got.status}: {_message(got.body)}"[:300])
    return Reply(body=got.body, latency_s=latency_s, ttft_s=ttft_s, tokens=got.usage.completion_tokens)


async def _call(answer: Answerer, request: Request) -> Answer:
    return await answer(request)


def _message(body: dict[str, Any]) -> str:
    error = body.get("error")
    return str(error.get("message", error)) if isinstance(error, dict) else str(body)
