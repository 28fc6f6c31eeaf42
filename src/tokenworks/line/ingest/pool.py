"""The worker processes as the stage sees them: jobs in, results out, and a culprit named when one dies."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO

from tokenworks.core.errors import TokenworksError
from tokenworks.line.ingest.messages import Chunk, Done, Hello, Job, Ready, frame, take

_WINDOW = 8  # jobs that a worker holds: enough to never wait, few enough to fit a pipe and to be redone
_START_S = 120.0  # imports on a machine that is busy elsewhere
_READ_BYTES = 1 << 20


class _Process:
    """One worker: its pipes, its unread bytes and the jobs it owes, in order."""

    def __init__(self, hello: Hello, errors: BinaryIO) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tokenworks.line.ingest.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self.stdout = self._process.stdin, self._process.stdout
        self.buffer = bytearray()
        self.owed: deque[Job] = deque()
        self.ready = False
        self.heard_s = time.monotonic()
        self._send(frame(hello))

    def give(self, job: Job) -> None:
        if not self.owed:
            self.heard_s = time.monotonic()
        self.owed.append(job)
        self._send(frame(job))

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # dead: its stdout ends too, and that is where it is noticed
            self._stdin.write(data)
            self._stdin.flush()

    def stop(self) -> str:
        """End the process, however it is; return how it ended."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self._process.kill()
        code = self._process.wait()
        self.stdout.close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def wait(self) -> str:
        """Return how a process that closed its pipe ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        return self.stop()


class Pool:
    """Hand jobs to `processes` workers; every job comes back as exactly one `Done`, chunks before it."""

    def __init__(self, hello: Hello, processes: int, timeout_s: float) -> None:
        self._hello = hello
        self._processes = processes
        self._timeout_s = timeout_s
        self._errors: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of `run`

    def run(self, jobs: Iterator[Job], on_chunk: Callable[[Chunk], None], on_done: Callable[[Done], None]) -> None:
        """Work off `jobs`, drawing them only as workers have room. The callbacks run in this thread."""
        self._on_chunk, self._on_done = on_chunk, on_done
        self._jobs = jobs
        self._again: deque[Job] = deque()  # innocent jobs of a worker that died
        self._workers: list[_Process] = []
        with selectors.DefaultSelector() as self._selector:
            try:
                while self._fill():
                    self._listen()
            finally:
                for worker in self._workers:
                    worker.stop()
                self._errors.close()

    def _fill(self) -> bool:
        """Give every worker its window of jobs; return whether anything is still owed."""
        for worker in [*self._workers]:
            while len(worker.owed) < _WINDOW and (job := self._next()):
                worker.give(job)
        while len(self._workers) < self._processes and (job := self._next()):
            worker = _Process(self._hello, self._errors)
            self._workers.append(worker)
            self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
            worker.give(job)
        return any(worker.owed for worker in self._workers)

    def _next(self) -> Job | None:
        return self._again.popleft() if self._again else next(self._jobs, None)

    def _listen(self) -> None:
        for key, _ in self._selector.select(timeout=0.25):
            worker: _Process = key.data
            data = os.read(worker.stdout.fileno(), _READ_BYTES)
            if not data:
                self._bury(worker, self._forget(worker).wait())
                continue
            worker.heard_s = time.monotonic()
            worker.buffer += data
            while message := take(worker.buffer):
                self._hear(worker, message)
        self._check_silence()

    def _hear(self, worker: _Process, message: Ready | Chunk | Done) -> None:
        if isinstance(message, Chunk):
            self._on_chunk(message)
        elif isinstance(message, Done):
            worker.owed.popleft()
            self._on_done(message)
        else:
            worker.ready = True

    def _check_silence(self) -> None:
        now = time.monotonic()
        for worker in [*self._workers]:
            limit = self._timeout_s if worker.ready else _START_S
            if worker.owed and now - worker.heard_s > limit:
                ended = self._forget(worker).stop()
                if not worker.ready:
                    raise TokenworksError(f"an ingest worker did not start within {_START_S:.0f} s ({ended})")
                self._blame(worker, "timeout", f"no progress within {self._timeout_s:g} s")

    def _bury(self, worker: _Process, ended: str) -> None:
        """Deal with a worker that ended by itself."""
        if not worker.ready:
            self._errors.seek(0)
            last = self._errors.read()[-2000:].decode("utf-8", "replace").strip()
            raise TokenworksError(f"an ingest worker did not start ({ended}): {last or 'no message'}")
        if ended == "exit code 0":  # it gave up after a file that took all memory, and has said so
            self._again.extend(worker.owed)
        else:
            self._blame(worker, "crashed", f"the reader's process ended with {ended}")

    def _blame(self, worker: _Process, reason: str, detail: str) -> None:
        """Set aside the file that the worker was at; its other jobs go to others."""
        if worker.owed:
            self._on_done(Done(worker.owed.popleft().number, reason=reason, detail=detail))
        self._again.extend(worker.owed)

    def _forget(self, worker: _Process) -> _Process:
        self._selector.unregister(worker.stdout)
        self._workers.remove(worker)
        return worker
