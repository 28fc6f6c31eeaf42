"""Stands in for an engine: a real HTTP server with N slots whose service times are known. It computes nothing.

    python _overload_engine.py SLOTS

A request's prompt says how many seconds it holds a slot; requests beyond the slots wait in the order they came, as in
an engine. Who hangs up leaves at once. `GET /used` tells how long each request has held a slot.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvicorn

TOKENS_PER_S = 1000.0


class Engine:
    """The ASGI app."""

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._used: dict[str, list[float]] = {}  # name of a request -> [began, ended or 0]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["path"] == "/used":
            await receive()
            return await _say(send, self._used)
        body = b""
        while (event := await receive()).get("more_body") or event.get("body"):
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        name, seconds = json.loads(body)["prompt"].split()
        working = asyncio.create_task(self._work(name, float(seconds)))
        gone = asyncio.create_task(receive())
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            return
        gone.cancel()
        tokens = round(float(seconds) * TOKENS_PER_S)
        usage = {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": tokens + 8}
        choice = {"index": 0, "text": "", "finish_reason": "stop"}
        await _say(send, {"object": "text_completion", "choices": [choice], "usage": usage})

    async def _work(self, name: str, seconds: float) -> None:
        async with self._slots:
            span = self._used[name] = [time.monotonic(), 0.0]
            try:
                await asyncio.sleep(seconds)
            finally:
                span[1] = time.monotonic()


async def _say(send: Any, what: Any) -> None:
    body = json.dumps(what).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def main() -> None:
    """Serve; say on standard output where."""
    config = uvicorn.Config(Engine(int(sys.argv[1])), host="127.0.0.1", port=0, log_config=None, access_log=False,
                            lifespan="off", backlog=8192)  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await task


if __name__ == "__main__":
    asyncio.run(main())
