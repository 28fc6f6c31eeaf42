"""One life of one engine process, from spawn to exit. Knows nothing of restarts."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.serving.engine import Options

TAIL_LINES = 40
MAX_LINE_BYTES = 1 << 20
LAST_STEPS_S = 5.0  # what a process that has closed its output may take to end


class Ready(msgspec.Struct, frozen=True):
    """The one line an engine prints when it can answer."""

    port: int
    pid: int
    does: tuple[str, ...] = ()
    load_s: float = 0.0


def host_command(engine: str, folder: Path, name: str, options: Options) -> list[str]:
    """Return the command line of an engine process for the model in `folder`, known to callers as `name`."""
    encoded = msgspec.json.encode(options).decode()
    host = [sys.executable, "-m", "tokenworks.serving.host"]
    return [*host, "--engine", engine, "--folder", str(folder), "--name", name, "--port", "0", "--options", encoded]


class Child:
    """A running engine process that has said it is ready."""

    def __init__(
        self, process: asyncio.subprocess.Process, ready: Ready, tail: deque[str], readers: list[asyncio.Task[None]]
    ) -> None:
        self.pid = process.pid
        self.ready = ready
        self._process = process
        self._tail = tail
        self._readers = readers

    @property
    def tail(self) -> str:
        """The last lines it wrote to standard error."""
        return "\n".join(self._tail)

    async def exited(self) -> int:
        """Wait for the end; return the exit status (negative: the signal that ended it)."""
        status = await self._process.wait()
        for reader in self._readers:
            await reader
        return status

    async def stop(self, drain_s: float) -> None:
        """Ask it to finish its answers and go; after `drain_s` end it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(drain_s):
                await self.exited()
        except TimeoutError:
            self.kill()
            await self.exited()

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


async def spawn(
    command: Sequence[str], *, start_timeout_s: float, environment: Mapping[str, str] | None = None
) -> Child:
    """Start `command`, in our environment or in another, and wait for its ready line.

    Raises `EngineError` with its last words.

    Its standard input stays open as long as we live: the end of it tells the engine to go. It leads its own session,
    so that Ctrl-C in a terminal reaches only us and we drain before it ends.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=environment,
            limit=MAX_LINE_BYTES,
        )
    except OSError as error:
        raise EngineError(f"engine process {command[0]} cannot be started: {error}") from None
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(_keep_tail(process.stderr, tail))
    try:
        async with asyncio.timeout(start_timeout_s):
            ready = await _read_ready(process.stdout)
    except BaseException as error:
        status = await _end(process, patience_s=LAST_STEPS_S if process.stdout.at_eof() else 0.0)
        await errors
        if isinstance(error, TimeoutError):
            why = f"was not ready within {start_timeout_s:g} s; raise engines.start_timeout_s if the model is large"
        elif isinstance(error, EngineError):
            why = f"ended with status {status} before it was ready" if status >= 0 else f"{error}"
        else:
            raise
        raise EngineError(f"engine process {why}{last_words(tail)}") from None
    drain = asyncio.create_task(_keep_tail(process.stdout, deque(maxlen=1)))
    return Child(process, ready, tail, [errors, drain])


async def _end(process: asyncio.subprocess.Process, *, patience_s: float) -> int:
    """Wait `patience_s` for `process` to go by itself, then end it; return its exit status.

    A process that is going anyway must not be signalled: Popen would reap it, and asyncio would report status 255.
    """
    try:
        async with asyncio.timeout(patience_s):
            return await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()


async def _read_ready(stdout: asyncio.StreamReader) -> Ready:
    try:
        line = await stdout.readline()
    except ValueError:
        raise EngineError(
            f"wrote more than {MAX_LINE_BYTES} bytes without a line end instead of a ready line"
        ) from None
    if not line:
        raise EngineError("closed its output before it was ready")
    try:
        return msgspec.json.decode(line, type=Ready)
    except msgspec.MsgspecError as error:
        raise EngineError(f"wrote {line[:120]!r} instead of a ready line ({error})") from None


async def _keep_tail(stream: asyncio.StreamReader, tail: deque[str]) -> None:
    """Read to the end, so that the pipe never fills; keep the last lines."""
    rest = b""
    while data := await stream.read(1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        tail.extend(line.decode(errors="replace")[:500] for line in lines if line.strip())
        rest = rest[-4096:]
    if rest.strip():
        tail.append(rest.decode(errors="replace")[:500])


def last_words(tail: Iterable[str], most: int = 12) -> str:
    """Return the end of an error message: what the engine said last, on lines of its own."""
    lines = list(tail)[-most:]
    return "; its last words:\n  " + "\n  ".join(lines) if lines else "; it wrote nothing to standard error"
