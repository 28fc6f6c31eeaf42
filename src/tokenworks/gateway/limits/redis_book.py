"""The book in Redis or Valkey: every call is one Lua script, and so atomic."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any, TypeVar

import msgspec

from tokenworks.core.errors import ConfigError, MissingExtraError
from tokenworks.gateway.limits.book import Beat, Heard, Join, Work, Worked

PREFIX = "{tokenworks}"  # in braces: all keys lie in one slot of a cluster
PATIENCE_S = 1.0  # a server that is silent for so long is away
T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode


class RedisBook:
    """The book at `url` (redis://, rediss://, unix://). Raises `ConfigError` for anything else.

    `now` stands in for the server's clock.
    """

    def __init__(self, url: str, *, now: Callable[[], float] | None = None) -> None:
        self._errors: type[Exception]
        self._redis, self._errors = _client(url)
        self._now = now
        self._script = files(__package__).joinpath("book.lua").read_text(encoding="utf-8")
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()

    async def join(self, join: Join) -> None:
        """Take in a member."""
        await self._do("join", join, bool)

    async def beat(self, beat: Beat) -> Heard:
        """Extend a lease."""
        return await self._do("beat", beat, Heard)

    async def work(self, work: Work) -> Worked:
        """Grant, and take back."""
        return await self._do("work", work, Worked)

    async def leave(self, member: str) -> None:
        """Let a member go, with all that it holds."""
        await self._do("leave", member, bool)

    async def close(self) -> None:
        """Let go of connections."""
        await self._redis.aclose()

    async def _do(self, operation: str, said: object, answer: type[T]) -> T:
        now = "" if self._now is None else repr(self._now())
        words = (1, PREFIX, operation, _encode(said), now)
        try:
            try:
                packed = await self._redis.evalsha(self._sha, *words)
            except self._errors as error:
                if not str(error).startswith(("NOSCRIPT", "No matching script")):
                    raise
                packed = await self._redis.eval(self._script, *words)
        except (self._errors, OSError) as error:
            raise OSError(f"the counters in Redis: {error}") from error
        return msgspec.msgpack.decode(packed, type=answer)


def _client(url: str) -> tuple[Any, type[Exception]]:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
    except ImportError:
        raise MissingExtraError("limits.shared", "cluster") from None
    try:
        # Repeated by us or by nobody: the answer to a call that broke off is not known.
        client = Redis.from_url(
            url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, retry=Retry(NoBackoff(), 0)
        )
    except ValueError as error:
        raise ConfigError(f"limits.shared: {error}; write it like redis://host:6379/0") from None
    return client, RedisError
