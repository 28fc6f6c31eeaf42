"""The ASGI application around an engine that dies, and the manners of a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tokenworks.core.errors import EngineError
from tokenworks.serving.app import EngineApp
from tokenworks.serving.engine import EngineDied, Piece, Sampling, Vectors

DYING = EngineDied("the step failed")


class Scripted:
    """An engine that says a fixed list of pieces, or raises what stands among them."""

    does = frozenset({"completions", "classify"})
    supports: frozenset[str] = frozenset()
    context_length = 100
    classes = ("cat", "dog")

    def __init__(self, *script: Piece | Exception) -> None:
        self._script = script
        self.closed = False

    def chat_prompt(self, messages: Sequence[dict[str, Any]]) -> str:
        raise EngineError("no chat")

    def count_tokens(self, text: str) -> int:
        return len(text)

    async def generate(self, prompt: str, sampling: Sampling) -> AsyncIterator[Piece]:
        try:
            for item in self._script:
                if isinstance(item, Exception):
                    raise item
                yield item
                await asyncio.sleep(0)
            await asyncio.sleep(60)
        finally:
            self.closed = True

    async def embed(self, texts: Sequence[str]) -> Vectors:
        raise EngineError("no")

    async def classify(self, texts: Sequence[str], *, work: object = None) -> Vectors:
        return Vectors(values=[[0.25, 0.75] for _ in texts], tokens=[1 for _ in texts])

    async def close(self) -> None:
        pass


async def ask(
    app: EngineApp, path: str, fields: dict[str, Any] | None = None, leave_after: int | None = None
) -> tuple[int, bytes]:
    """Return status and body; with `leave_after` the client goes after so many writes."""
    sent: list[Any] = []
    left = asyncio.Event()
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": json.dumps(fields).encode(), "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if leave_after is not None and len(sent) >= leave_after:
            left.set()

    method = "POST" if fields is not None else "GET"
    await app({"type": "http", "path": path, "method": method}, receive, send)
    status = sent[0]["status"] if sent else 0
    return status, b"".join(message.get("body", b"") for message in sent[1:])


async def test_a_dead_engine_is_told_to_the_caller_and_on_health() -> None:
    app = EngineApp(Scripted(DYING), "m")  # type: ignore[arg-type]
    status, body = await ask(app, "/v1/completions", {"prompt": "x"})
    assert (status, json.loads(body)["error"]["code"]) == (503, "engine_died")
    assert app.died.is_set()
    status, body = await ask(app, "/health")
    assert (status, json.loads(body)["status"]) == (503, "degraded")


async def test_an_engine_that_dies_in_a_stream_ends_it_with_an_error_event_and_no_done() -> None:
    app = EngineApp(Scripted(Piece(text="a", tokens=1), DYING), "m")  # type: ignore[arg-type]
    status, body = await ask(app, "/v1/completions", {"prompt": "x", "stream": True})
    events = body.decode().split("\n\n")
    assert status == 200
    assert json.loads(events[0].removeprefix("data: "))["choices"][0]["text"] == "a"
    assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == "engine_died"
    assert "[DONE]" not in body.decode()


async def test_a_client_that_leaves_closes_the_answer() -> None:
    for stream in (True, False):
        engine = Scripted(Piece(text="a", tokens=1), Piece(text="b", tokens=1))
        app = EngineApp(engine, "m")  # type: ignore[arg-type]
        task = ask(app, "/v1/completions", {"prompt": "x", "stream": stream}, leave_after=2 if stream else 0)
        if not stream:
            running = asyncio.create_task(task)
            await asyncio.sleep(0.05)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        else:
            await task
        assert engine.closed


async def test_classes_have_the_shape_of_vllm() -> None:
    status, body = await ask(EngineApp(Scripted(), "m"), "/classify", {"model": "m", "input": ["a", "b"]})  # type: ignore[arg-type]
    answer = json.loads(body)
    assert status == 200
    assert answer["object"] == "list"
    assert answer["data"][1] == {"index": 1, "label": "dog", "probs": [0.25, 0.75], "num_classes": 2}
    assert answer["usage"]["prompt_tokens"] == 2


async def test_what_the_engine_cannot_do_is_refused_by_name() -> None:
    status, body = await ask(EngineApp(Scripted(), "m"), "/v1/completions", {"prompt": "x", "seed": 1})  # type: ignore[arg-type]
    assert (status, json.loads(body)["error"]["param"]) == (400, "seed")


async def test_a_method_that_is_not_asked_for_says_so() -> None:
    assert (await ask(EngineApp(Scripted(), "m"), "/v1/completions"))[0] == 405  # type: ignore[arg-type]
