"""What a teacher said so far: a file to which each lesson is added as it comes, so that nothing is asked twice."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec

from tokenworks.core.files import write_atomic
from tokenworks.core.ids import content_id


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """The teacher's word on one question, and what it cost."""

    request_id: str
    answer: str
    agreement: float
    calls: int
    engine_s: float
    prompt_tokens: int
    completion_tokens: int


class Journal:
    """An append-only JSONL file. Half a last line, left by a kill, is cut off; another `teaching` begins it anew."""

    def __init__(self, path: Path, teaching: Any) -> None:
        self._path = path
        self._head = msgspec.json.encode({"teaching": content_id(teaching)}) + b"\n"
        self.lessons: dict[str, Lesson] = {}
        self._file: BinaryIO

    def __enter__(self) -> Journal:
        data = self._path.read_bytes() if self._path.is_file() else b""
        whole = data[: data.rfind(b"\n") + 1] if data.startswith(self._head) else self._head
        if whole != data:
            write_atomic(self._path, whole, mode=0o600)
        for line in whole.splitlines()[1:]:
            lesson = msgspec.json.decode(line, type=Lesson)
            self.lessons[lesson.request_id] = lesson
        self._file = self._path.open("ab")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, lesson: Lesson) -> None:
        """Keep `lesson` for good."""
        self._file.write(msgspec.json.encode(lesson) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.lessons[lesson.request_id] = lesson
