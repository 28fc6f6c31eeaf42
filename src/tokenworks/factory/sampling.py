"""The questions of a sweep, and the samples drawn for them as ordinary requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.request import Answer, Answerer, Endpoint, Request
from tokenworks.gateway.openai.fields import Reasoning
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.serving.thinking.contract import Sample

AT_ONCE = 4  # questions that are sampled side by side
OURS = ("model", "reasoning", "reasoning_effort", "stream", "stream_options", "n")  # what a sample is asked without
Told = Callable[[int, int], None]  # (questions done, of how many)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request, less the model, and its right answer."""

    body: dict[str, Any]
    expected: str
    asked: Reasoning = Reasoning()  # its answer's pattern, verifier, cue, rounds and confidence

    @property
    def endpoint(self) -> Endpoint:
        """By which endpoint it is asked."""
        return "chat.completions" if "messages" in self.body else "completions"

    def numbered(self, number: int) -> dict[str, Any]:
        """Return the body of its sample of this number, from 1 on: a seed moves on with it, as callers' seeds do."""
        seed = self.body.get("seed")
        return self.body if seed is None else {**self.body, "seed": seed + number - 1}


def read_questions(path: Path) -> list[Question]:
    """Return the questions of a JSON-lines file; raise `DataError` naming the line that is none.

    A line is a request object, with `expected`; or a conversation whose last turn is the right answer.
    """
    found: list[Question] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            found.append(_question(line, f"{path}: line {number}"))
    if not found:
        raise DataError(f"{path} holds no question; write one a line")
    return found


def _question(line: bytes, where: str) -> Question:
    try:
        body = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise DataError(f"{where}: {error}") from None
    expected, messages = body.pop("expected", None), body.get("messages")
    if expected is None and messages and messages[-1].get("role") == "assistant":
        expected, body["messages"] = messages[-1].get("content"), messages[:-1]
    if expected is None or not (body.get("messages") or body.get("prompt")):
        raise DataError(f"{where}: a question has a prompt or messages, and expected")
    try:
        asked = msgspec.convert(body.get("reasoning") or {}, Reasoning)
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: reasoning: {error}") from None
    body = {name: value for name, value in body.items() if name not in OURS}
    return Question(body=body, expected=str(expected), asked=asked)


def asking(answer: Answerer, version: str) -> Callable[[Question, int], Awaitable[Sample]]:
    """Return how a question is sampled: as an ordinary request to `version`, unless it names another, with logprobs."""

    async def ask(question: Question, number: int) -> Sample:
        chat = question.endpoint == "chat.completions"
        body = {"model": version, **question.numbered(number), "store": False}
        told = {**body, "logprobs": True if chat else 0}
        given = await answer(Request(endpoint=question.endpoint, body=told))
        if given.status == 400 and given.body["error"].get("param") in ("logprobs", "top_logprobs"):
            given = await answer(Request(endpoint=question.endpoint, body=body))
        return _sample(given, number)

    return ask


def _sample(given: Answer, number: int) -> Sample:
    if not given.ok:
        raise DataError(f"a question was answered with {given.status}: {given.body.get('error', {}).get('message')}")
    choice = given.body["choices"][0]
    told = choice.get("logprobs") or {}
    listed = told.get("token_logprobs") or [one["logprob"] for one in told.get("content") or ()]
    return Sample(
        number=number,
        text=(choice["message"]["content"] if "message" in choice else choice["text"]) or "",
        finish_reason=str(choice.get("finish_reason") or "stop"),
        prompt_tokens=given.usage.prompt_tokens,
        cached_tokens=given.usage.cached_tokens,
        completion_tokens=given.usage.completion_tokens,
        logprobs=tuple(float(one) for one in listed if one is not None),
        id=given.request_id,
    )


async def draw_all(
    questions: Sequence[Question], samples: int, ask: Callable[[Question, int], Awaitable[Sample]], told: Told
) -> list[list[Sample]]:
    """Return so many samples of each question, some questions side by side."""
    turn, done = asyncio.Semaphore(AT_ONCE), 0

    async def one(question: Question) -> list[Sample]:
        nonlocal done
        async with turn:
            row = list(await asyncio.gather(*[ask(question, number) for number in range(1, samples + 1)]))
        done += 1
        told(done, len(questions))
        return row

    return list(await asyncio.gather(*[one(question) for question in questions]))


def entries_of(root: Path, drawn: Sequence[Sequence[Sample]]) -> dict[str, RequestEntry]:
    """Return what the ledger at `root` says of the samples, in one pass over it: our own requests are in no index."""
    wanted = {one.id for row in drawn for one in row}
    return {
        entry.request_id: entry
        for _, entry in read(root)
        if isinstance(entry, RequestEntry) and entry.request_id in wanted
    }
