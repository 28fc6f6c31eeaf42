"""Ask an OpenAI-compatible server for streamed completions, on a schedule or so many at a time, and take the times.

The client shares the processor with what it measures where both are on one machine, so it does no more than it must:
the clock at the first text and at the end, and the usage that the server reports.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from tokenworks.core.errors import ConfigError, EngineError
from tokenworks.core.usage import NOTHING_SPENT, Spent

PATIENCE_S = 300.0  # without a byte
LATE_S = 0.05  # a client that asks so much later than planned measured itself


class NotReadyError(EngineError):
    """The server says that it cannot answer now: it is starting, or too much is asked of it."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One request: when, what, and how long its answer is to be."""

    at_s: float
    prompt: str
    answer_tokens: int


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What one request was like. Times are seconds since the first was due."""

    asked_s: float
    ttft_s: float
    latency_s: float
    prompt_tokens: int
    answer_tokens: int
    joules: float | None = None  # as the server tells
    joules_error: float = 0.0  # standard uncertainty, as a share
    meter: str = ""

    @property
    def tpot_s(self) -> float:
        """Return seconds per token after the first."""
        return (self.latency_s - self.ttft_s) / max(self.answer_tokens - 1, 1)


@dataclass(frozen=True)
class Server:
    """Where to ask, for which model, with which key."""

    url: str
    model: str
    key: str = ""
    exact: bool = True  # it knows `ignore_eos`: answers are exactly as long as asked for
    timeout_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{self.url!r} is no address such as http://127.0.0.1:8000")

    async def ask(self, question: Question, origin: float) -> Answered:
        """Return what `question` was like; raise `EngineError` saying what the server answered instead."""
        parts = urlsplit(self.url)
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        asked = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if tls else 80), ssl=tls)
        except OSError as error:
            raise EngineError(f"{self.url} cannot be reached: {error}") from None
        try:
            writer.write(self._request(question))
            async with asyncio.timeout(self.timeout_s):
                first, ended, received = await _received(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise EngineError(f"{self.url} broke off or was silent: {error!r}") from None
        finally:
            writer.close()
        usage, spent = _usage(received, self.url)
        return Answered(
            asked_s=asked - origin,
            ttft_s=first - asked,
            latency_s=ended - asked,
            prompt_tokens=usage["prompt_tokens"],
            answer_tokens=usage["completion_tokens"],
            joules=spent.joules,
            joules_error=spent.joules_error,
            meter=spent.meter,
        )

    def _request(self, question: Question) -> bytes:
        parts = urlsplit(self.url)
        fields: dict[str, object] = {
            "model": self.model,
            "prompt": question.prompt,
            "max_tokens": question.answer_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.exact:
            fields["ignore_eos"] = True
        body = msgspec.json.encode(fields)
        path = parts.path.rstrip("/").removesuffix("/v1")
        lines = [
            f"POST {path}/v1/completions HTTP/1.1",
            f"host: {parts.netloc.rpartition('@')[2]}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        if self.key:
            lines.append(f"authorization: Bearer {self.key}")
        return "\r\n".join([*lines, "", ""]).encode() + body


async def on_time(server: Server, questions: Sequence[Question]) -> list[Answered]:
    """Ask each question when it is due, however many are under way."""
    origin = time.monotonic()

    async def one(question: Question) -> Answered:
        await asyncio.sleep(max(origin + question.at_s - time.monotonic(), 0))
        return await server.ask(question, origin)

    return list(await asyncio.gather(*map(one, questions)))


async def at_a_time(server: Server, questions: Sequence[Question], count: int) -> list[Answered]:
    """Ask all questions, `count` of them under way at any time."""
    origin, left, found = time.monotonic(), list(reversed(questions)), []

    async def work() -> None:
        while left:
            found.append(await server.ask(left.pop(), origin))

    await asyncio.gather(*(work() for _ in range(count)))
    return found


async def _received(reader: asyncio.StreamReader) -> tuple[float, float, bytes]:
    """Return when the first text came, when the last of all came, and everything.

    That a server closes the connection later is no part of the answer's time.
    """
    first, last, parts = 0.0, 0.0, []
    while part := await reader.read(1 << 16):
        last = time.monotonic()
        parts.append(part)
        # A first event without text (a role, an empty piece) is not the first token.
        if not first and b'"text":' in part and b'"text":""' not in part.replace(b'": "', b'":"'):
            first = last
    last = last or time.monotonic()
    return first or last, last, b"".join(parts)


def _usage(received: bytes, url: str) -> tuple[dict[str, int], Spent]:
    head, _, body = received.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        said = body[:300].decode(errors="replace")
        kind = NotReadyError if status in ([b"503"], [b"429"]) else EngineError
        raise kind(f"{url} answered {b''.join(status).decode() or 'nothing'}: {said}")
    for line in reversed(received.split(b"\n")):
        if line.startswith(b"data:") and b'"usage"' in line:
            event = msgspec.json.decode(line[5:].strip())
            if event.get("usage"):
                usage = event["usage"]
                return usage, _spent(usage.get("spent"))
    raise EngineError(f"{url}: its stream has no usage; a server is measured that knows stream_options.include_usage")


def _spent(told: object) -> Spent:
    """Return what a server of ours says that an answer took; nothing where it says what cannot be meant."""
    try:
        spent = msgspec.convert(told, Spent)
    except msgspec.ValidationError:
        return NOTHING_SPENT
    known = spent.joules is not None and 0 <= spent.joules < math.inf and 0 <= spent.joules_error < math.inf
    return spent if known else NOTHING_SPENT
