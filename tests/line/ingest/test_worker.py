from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from tokenworks.core.errors import TokenworksError
from tokenworks.line.ingest.messages import Chunk, Done, Hello, Job, Ready, frame, receive, take
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.pool import Pool
from tokenworks.line.ingest.worker import Worker

PROSE = "The quick brown fox jumps over the lazy dog and then it sleeps in the sun for the rest of the day.\n"


def hello(**changes: object) -> Hello:
    fields = {"limits": Limits(), "read_as": {}, "secrets": "mask", "config": "c", "cache": "/none", "memory_mb": 512}
    return Hello(**(fields | {"terms": {}} | changes))


def serve(job: Job) -> list[Ready | Chunk | Done]:
    """Let a worker serve one job in this process, and return what it said."""
    out = io.BytesIO()
    Worker(hello(), out).serve(job)
    buffer, said = bytearray(out.getvalue()), []
    while message := take(buffer):
        said.append(message)
    assert not buffer
    return said


def test_frames_come_back_whole_however_they_are_cut():
    data = frame(Chunk(1, "key", 0, b"\0" * 1000)) + frame(Done(1, "key", 1))
    buffer, said = bytearray(), []
    for byte in data:
        buffer.append(byte)
        while message := take(buffer):
            said.append(message)
    assert said == [Chunk(1, "key", 0, b"\0" * 1000), Done(1, "key", 1)]
    assert receive(io.BytesIO(frame(Job(2, b"/a", "a", 3)))) == Job(2, b"/a", "a", 3)
    assert receive(io.BytesIO(b"")) is None


def test_a_file_ends_in_chunks_and_one_done(tmp_path):
    path = tmp_path / "a.md"
    path.write_text(PROSE)
    chunk, done = serve(Job(7, os.fsencode(path), "a.md", path.stat().st_size))
    assert isinstance(chunk, Chunk)
    assert done == Done(7, chunk.key, 1)


def test_what_cannot_be_opened_is_done_with_a_reason(tmp_path):
    (tmp_path / "link.md").symlink_to(tmp_path / "a.md")
    said = {
        name: serve(Job(1, os.fsencode(tmp_path / name), name, 1))[-1].reason
        for name in ("gone.md", "link.md", "../" + tmp_path.name)
    }
    assert said == {"gone.md": "vanished", "link.md": "unreadable", "../" + tmp_path.name: "unreadable"}


def test_a_large_file_shows_life_while_it_is_hashed(tmp_path):
    path = tmp_path / "big.txt"
    with path.open("wb") as file:
        file.truncate(20 << 20)
    said = serve(Job(1, os.fsencode(path), "big.txt", 20 << 20))
    assert sum(isinstance(message, Ready) for message in said) == 3
    assert isinstance(said[-1], Done)


def test_a_worker_that_cannot_start_is_an_error_that_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "zstandard.py").write_text("raise ImportError('zstandard is broken here')")
    pool = Pool(hello(), 1, 5.0)
    with pytest.raises(TokenworksError, match="zstandard is broken here"):
        pool.run(iter([Job(0, b"/x", "x", 1)]), lambda chunk: None, lambda done: None)


def test_a_worker_ends_when_its_stdin_does():
    process = subprocess.Popen(
        [sys.executable, "-m", "tokenworks.line.ingest.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, _ = process.communicate(frame(hello()), timeout=60)
    assert process.returncode == 0
    assert take(bytearray(out)) == Ready()
