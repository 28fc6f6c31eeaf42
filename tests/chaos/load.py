"""Callers who go on asking whatever happens, and remember what each of them was told."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from chaos.plant import Chaotic
from tokenworks.core.ids import new_id

TEXT = {"messages": [{"role": "user", "content": "a card was lost"}], "ignore_eos": True, "logprobs": True}


@dataclass
class Told:
    """What one request came to, as its caller saw it."""

    request_id: str
    tenant: str
    asked_tokens: int
    status: int = 0  # 0: no answer began
    whole: bool = False  # all of it arrived
    tokens: int = 0  # that arrived, of the answer
    charged: int = 0  # that the answer itself says it took, with the prompt
    code: str = ""  # of the error that ended it
    began_s: float = field(default_factory=time.monotonic)


@dataclass
class Load:
    """So many users in a thread of their own."""

    house: Chaotic
    users: int = 6
    model: str = ""
    most_tokens: int = 120
    told: list[Told] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._over = False
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "somebody waits for ever"
        if self._failed:
            raise self._failed[0]

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as failed:  # noqa: BLE001  # told to the test's own thread
            self._failed.append(failed)

    async def _all(self) -> None:
        async with httpx.AsyncClient(timeout=30) as http:
            await asyncio.gather(*(self._user(http, number) for number in range(self.users)))

    async def _user(self, http: httpx.AsyncClient, number: int) -> None:
        rng = random.Random(number)
        tenant = "tight" if number % 3 == 2 else "free"
        while not self._over:
            told = Told(new_id("chaos"), tenant, rng.randint(1, self.most_tokens))
            self.told.append(told)
            await self.ask(http, told, stream=rng.random() < 0.6)
            if not told.whole or told.status != 200:
                await asyncio.sleep(0.05)

    async def ask(self, http: httpx.AsyncClient, told: Told, *, stream: bool) -> None:
        """Ask once, and note what came back."""
        headers = {"authorization": f"Bearer {self.house.asks[told.tenant]}", "x-request-id": told.request_id}
        body = {**TEXT, "model": self.model or self.house.writer, "max_tokens": told.asked_tokens, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        try:
            url = f"{self.house.url}/v1/chat/completions"
            async with http.stream("POST", url, json=body, headers=headers) as answer:
                told.status = answer.status_code
                if stream and answer.status_code == 200:
                    rest = ""  # a line of its own ends with LF: httpx ends one at U+2028 and others too
                    async for text in answer.aiter_text():
                        *lines, rest = (rest + text).split("\n")
                        for line in lines:
                            self._take(told, line)
                else:
                    self._whole(told, json.loads(await answer.aread()))
        except (httpx.HTTPError, json.JSONDecodeError) as broken:
            told.whole, told.code = False, told.code or type(broken).__name__

    def _take(self, told: Told, line: str) -> None:
        if line == "data: [DONE]":
            told.whole = not told.code
        elif line.startswith("data: "):
            self._count(told, json.loads(line[6:]))

    def _whole(self, told: Told, body: dict[str, Any]) -> None:
        self._count(told, body)
        told.whole = True

    def _count(self, told: Told, body: dict[str, Any]) -> None:
        if "error" in body:
            told.code = body["error"]["code"]
        for choice in body.get("choices", ()):
            told.tokens += len((choice.get("logprobs") or {}).get("content") or ())
        if body.get("usage"):
            told.charged = body["usage"]["total_tokens"]
