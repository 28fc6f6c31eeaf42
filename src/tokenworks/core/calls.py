"""Calls between processes of one machine: a name and some bytes over a Unix socket, and some bytes back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog

from tokenworks.core import errors
from tokenworks.core.errors import TokenworksError

MAX_BYTES = 64 << 20
_LENGTH_BYTES = 4
Answer = Callable[[str, bytes], Awaitable[bytes]]
log = structlog.get_logger()


class _Call(msgspec.Struct, frozen=True, array_like=True):
    name: str
    said: bytes


class _Back(msgspec.Struct, frozen=True, array_like=True):
    said: bytes = b""
    error: str = ""  # the class of the error that was raised
    message: str = ""


_encode = msgspec.msgpack.Encoder().encode
_call = msgspec.msgpack.Decoder(_Call).decode
_back = msgspec.msgpack.Decoder(_Back).decode


class Answering:
    """Whoever answers at a path."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, path: Path) -> None:
        """Answer at `path`, this user alone."""
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._take, path)
        finally:
            os.umask(before)

    async def close(self) -> None:
        """Answer no more, not even who waits."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (frame := await _read(reader)) is not None:
                writer.write(_framed(await _answered(self._answer, frame)))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the caller has gone
        finally:
            writer.close()


async def answer_calls(path: Path, answer: Answer) -> Answering:
    """Answer at `path`; an error of ours that `answer` raises is raised where it was called."""
    answering = Answering(answer)
    await answering.listen(path)
    return answering


class Caller:
    """Calls whoever listens at `path`. Each call under way has a connection; they are kept for the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, name: str, said: bytes = b"") -> bytes:
        """Return the answer; raise `OSError` where nobody answers, else what the other side raised."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_unix_connection(self._path)
        try:
            writer.write(_framed(_encode(_Call(name, said))))
            await writer.drain()
            frame = await _read(reader)
        except asyncio.IncompleteReadError:
            writer.close()
            raise ConnectionResetError(f"{self._path}: the other side went away") from None
        except BaseException:  # also when cancelled: the answer that comes is nobody's
            writer.close()
            raise
        if frame is None:
            writer.close()
            raise ConnectionResetError(f"{self._path}: the other side went away")
        self._idle.append((reader, writer))
        back = _back(frame)
        if back.error:
            kind = getattr(errors, back.error, TokenworksError)
            raise kind(back.message)
        return back.said

    def close(self) -> None:
        """Let go of connections."""
        while self._idle:
            self._idle.pop()[1].close()


async def _answered(answer: Answer, frame: bytes) -> bytes:
    call = _call(frame)
    try:
        return _encode(_Back(await answer(call.name, call.said)))
    except TokenworksError as error:
        return _encode(_Back(error=type(error).__name__, message=str(error)))
    except Exception as error:  # a border: the caller is told, the log has the reason
        log.exception("call failed", call=call.name)
        return _encode(_Back(error="TokenworksError", message=f"{call.name}: {error}"))


def _framed(said: bytes) -> bytes:
    return len(said).to_bytes(_LENGTH_BYTES, "little") + said


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next frame, None at the end."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "little")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    if length > MAX_BYTES:
        raise OSError(f"a call of {length} bytes where {MAX_BYTES} fit")
    return await reader.readexactly(length)
