"""The book of another process of this machine: where workers count together without Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from tokenworks.gateway.limits.book import Beat, Book, Heard, Join, Work, Worked

Call = Callable[[str, bytes], Awaitable[bytes]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.decode


class FarBook:
    """A book that is reached by `call`."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def join(self, join: Join) -> None:
        """Take in a member."""
        await self._call("book.join", _encode(join))

    async def beat(self, beat: Beat) -> Heard:
        """Extend a lease."""
        return _decode(await self._call("book.beat", _encode(beat)), type=Heard)

    async def work(self, work: Work) -> Worked:
        """Grant, and take back."""
        return _decode(await self._call("book.work", _encode(work)), type=Worked)

    async def leave(self, member: str) -> None:
        """Let a member go, with all that it holds."""
        await self._call("book.leave", _encode(member))

    async def close(self) -> None:
        """The connections are the caller's."""


async def answer_book(book: Book, name: str, said: bytes) -> bytes:
    """Answer a call of `FarBook`."""
    if name == "book.work":
        return _encode(await book.work(_decode(said, type=Work)))
    if name == "book.beat":
        return _encode(await book.beat(_decode(said, type=Beat)))
    if name == "book.join":
        await book.join(_decode(said, type=Join))
    else:
        await book.leave(_decode(said, type=str))
    return b""
