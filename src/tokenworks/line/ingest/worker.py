"""A worker process of ingest: `python -m tokenworks.line.ingest.worker`, jobs on stdin, results on stdout.

What a file does to it (a crash, endless work, all of the memory) stays in this process.
"""

from __future__ import annotations

import hashlib
import io
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from tokenworks.core.ids import content_id
from tokenworks.core.process import die_with
from tokenworks.line.ingest.cache import CacheReader
from tokenworks.line.ingest.detect.dictionary import Terms
from tokenworks.line.ingest.examine import Examiner, Item
from tokenworks.line.ingest.messages import Chunk, Done, Hello, Job, Ready, frame, receive

_CHUNK_CHARS = 1 << 20
_HOLD_BYTES = 8 << 20  # files up to this size are read once into memory
_encode = msgspec.msgpack.Encoder().encode


def main() -> None:
    """Serve jobs until stdin ends."""
    die_with(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to decide on
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not print into the frames
    hello = receive(sys.stdin.buffer)
    assert isinstance(hello, Hello), "the first message of a worker is Hello"
    worker = Worker(hello, out)
    worker.send(Ready())
    _bound_memory(hello.memory_mb)
    while job := receive(sys.stdin.buffer):
        assert isinstance(job, Job)
        worker.serve(job)


class Worker:
    """One file at a time, from its bytes to chunks of items."""

    def __init__(self, hello: Hello, out: BinaryIO) -> None:
        self._out = out
        self._config = hello.config
        self._cache = CacheReader(hello.cache)
        self._examiner = Examiner(hello.limits, hello.read_as, hello.secrets, Terms(hello.terms))
        self._compressor = zstandard.ZstdCompressor(level=1)

    def send(self, message: msgspec.Struct) -> None:
        """Write a message at once."""
        self._out.write(frame(message))
        self._out.flush()

    def serve(self, job: Job) -> None:
        """Read one file and send what is in it; the last message is always its `Done`."""
        try:
            with _open(job.absolute) as file:
                self._read(job, file)
        except MemoryError:
            self.send(Done(job.number, reason="memory", detail="needs more memory than a worker may have"))
            sys.exit(0)  # what is left of the heap is not to be trusted with the next file
        except OSError as error:
            reason = "vanished" if isinstance(error, FileNotFoundError) else "unreadable"
            self.send(Done(job.number, reason=reason, detail=error.strerror or type(error).__name__))
        except Exception as error:  # noqa: BLE001 - a process border: a reader's bug costs its file, with its name
            self.send(Done(job.number, reason="reader-error", detail=f"{type(error).__name__}: {error}"[:500]))

    def _read(self, job: Job, file: BinaryIO) -> None:
        stream, sha256 = _hashed(file, job.size, lambda: self.send(Ready()))
        key = content_id([sha256, self._examiner.reader_of(job.path), Path(job.path).suffix.lower(), self._config])
        if self._cache.complete(key):
            self.send(Done(job.number, key, cached=True))
            return
        count = 0
        for chunk in _chunks(self._examiner.examine(stream, job.path, sha256)):
            self.send(Chunk(job.number, key, count, self._compressor.compress(_encode(chunk))))
            count += 1
        self.send(Done(job.number, key, count))


def _chunks(items: Iterator[Item]) -> Iterator[list[Item]]:
    """Group items so that a chunk holds about a million characters."""
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += len(item.text) + 256
        if size >= _CHUNK_CHARS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _open(path: bytes) -> BinaryIO:
    """Open without following a link put there since the listing, and without waiting for a pipe's writer."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.fdopen(handle, "rb")


def _hashed(file: BinaryIO, size: int, beat: Callable[[], None]) -> tuple[BinaryIO, str]:
    """Return a seekable stream at its start, and the SHA-256 of what it holds; `beat` shows life on the way."""
    if size <= _HOLD_BYTES:
        data = file.read()
        return io.BytesIO(data), hashlib.sha256(data).hexdigest()
    digest = hashlib.sha256()
    while block := file.read(_HOLD_BYTES):
        digest.update(block)
        beat()
    file.seek(0)
    return file, digest.hexdigest()


def _bound_memory(memory_mb: int) -> None:
    """Let the address space grow by `memory_mb` from here: then Python raises `MemoryError` instead of swapping."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + (memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
