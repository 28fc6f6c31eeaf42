"""Distillation: a teacher answers what nobody answered for us, and what it agrees with itself on is learnt.

Asks through the request path it is given, so the gateway's labels, limits and ledger hold for a teacher too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.request import Answer, Answerer, Request
from tokenworks.core.stage import Progress, silent
from tokenworks.flywheel.journal import Journal, Lesson
from tokenworks.flywheel.voting import Vote, vote

Sleep = Callable[[float], Awaitable[None]]
FIRST_WAIT_S = 0.5  # before the second attempt; doubled each time
FINAL = frozenset({400, 401, 403, 404, 413, 422})  # asking again would give the same answer
GIVE_UP = 8  # questions in a row without an answer: the teacher is gone, and the rest is not asked


class Teaching(msgspec.Struct, frozen=True, kw_only=True):
    """How a teacher is asked, and what of its answers is believed."""

    kind: str  # classify | extract | chat
    samples: int = 1  # answers to each question; the majority counts (self-consistency, Wang 2022)
    agreement: float = 0.5  # share of the samples that must agree
    temperature: float = 0.7  # of several samples; a single one is greedy
    max_tokens: int = 256
    concurrency: int = 4
    attempts: int = 3  # per sample, with growing pauses
    label: str = ""  # data class of the questions: the gateway refuses it to a teacher that may not see it
    labels: tuple[str, ...] = ()  # classify: what the student may say; others are left out. Empty: anything
    schema: dict[str, Any] | None = None  # extract: of the answer
    seed: int = 0

    def identity(self, teacher: str) -> list[Any]:
        """Return what decides the answers: not how fast they are asked for, nor which are believed."""
        return [teacher, self.kind, self.samples, self.temperature, self.max_tokens, self.label, self.schema, self.seed]


class Taught(msgspec.Struct, frozen=True, kw_only=True):
    """What a teacher said, as training rows, and what it cost."""

    rows: bytes  # JSONL: {"messages" or "text" and "label", "request_id", "agreement"}
    questions: int
    answered: int  # now or in an earlier run that was killed
    used: int  # agreed on, and therefore in `rows`
    calls: int
    engine_s: float  # summed over calls, as the teacher's engine was busy with them
    prompt_tokens: int
    completion_tokens: int
    failures: tuple[str, ...]  # different reasons, at most five
    complete: bool

    @property
    def engine_s_per_answer(self) -> float:
        """Engine-seconds of the teacher for one answer: beside the student's this is what distillation saves."""
        return self.engine_s / self.answered if self.answered else 0.0

    def story(self) -> str:
        """Return one line for people."""
        done = f"{self.used} of {self.answered} answers agreed on, {self.engine_s_per_answer:.3f} engine-s each"
        if self.complete:
            return f"teacher answered all {self.questions}: {done}"
        why = f" ({self.failures[0]})" if self.failures else ""
        return f"teacher failed after {self.answered} of {self.questions}{why}: {done}"


def teach(
    rows: bytes, answer: Answerer, teacher: str, *, by: Teaching, journal: Path, progress: Progress = silent,
    sleep: Sleep = asyncio.sleep,
) -> Taught:  # fmt: skip
    """Ask `teacher` every question of `rows` (JSONL "unlabelled") and return what may be learnt from it.

    Answers are kept in `journal` as they come: a killed run goes on and asks nothing twice. A question that fails
    after all attempts is left out; after `GIVE_UP` in a row the teacher is taken to be gone.
    """
    if by.samples < 1 or by.concurrency < 1 or by.attempts < 1 or not 0 <= by.agreement <= 1:
        raise ConfigError(f"{by}: samples, concurrency and attempts are at least 1, agreement a share")
    questions = _questions(rows, by)
    with Journal(journal, by.identity(teacher)) as kept:
        asking = _Asking(answer, teacher, by, kept, sleep, progress, len(questions))
        asyncio.run(asking.all([one for one in questions if one["request_id"] not in kept.lessons]))
        return _taught(questions, kept.lessons, by, asking.failures)


class _Asking:
    """One run over the questions: at most `concurrency` calls at a time."""

    def __init__(
        self, answer: Answerer, teacher: str, by: Teaching, journal: Journal, sleep: Sleep, progress: Progress,
        total: int,
    ) -> None:  # fmt: skip
        self._answer, self._teacher, self._by, self._journal = answer, teacher, by, journal
        self._sleep, self._progress, self._total = sleep, progress, total
        self._in_a_row = 0
        self.failures: list[str] = []

    async def all(self, questions: Sequence[Mapping[str, Any]]) -> None:
        """Ask all, keep each lesson as it comes."""
        waiting = iter(questions)

        async def worker() -> None:
            for question in waiting:
                if self._in_a_row >= GIVE_UP:
                    return
                await self._one(question)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._by.concurrency, len(questions))):
                group.create_task(worker())

    async def _one(self, question: Mapping[str, Any]) -> None:
        given = list[Answer]()
        for sample in range(self._by.samples):
            got, failure = await self._sample(_request(question, self._teacher, self._by, sample))
            if got is None:
                self.failures.append(failure)
                self._in_a_row += 1
                return  # half a vote is none: asked again in the next run
            given.append(got)
        self._in_a_row = 0
        self._journal.add(_lesson(str(question["request_id"]), given, self._by))
        self._progress(len(self._journal.lessons), self._total, unit="answers", note=f"teacher {self._teacher}")

    async def _sample(self, request: Request) -> tuple[Answer | None, str]:
        """Return (answer, "") or (None, why not) after all attempts."""
        failure = ""
        for attempt in range(self._by.attempts):
            if attempt:
                await self._sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
            started = time.perf_counter()
            try:
                got = await self._answer(request)
            except Exception as error:  # noqa: BLE001 - the border to whatever answers: its failure is on record
                failure = f"{type(error).__name__}: {error}"[:200]
                continue
            if got.ok and _text(got, self._by.kind):
                latency_s = got.latency_s or time.perf_counter() - started
                return msgspec.structs.replace(got, latency_s=latency_s), ""
            failure = f"status {got.status}: {_message(got.body)}"[:200]
            if got.status in FINAL:
                break
        return None, failure


def _questions(rows: bytes, by: Teaching) -> list[dict[str, Any]]:
    wanted = "text" if by.kind == "classify" else "messages"
    found = dict[str, dict[str, Any]]()
    for number, line in enumerate(rows.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=dict[str, Any])
            found[str(row["request_id"])] = {"request_id": row["request_id"], wanted: row[wanted]}
        except (msgspec.DecodeError, KeyError) as error:
            raise DataError(f"unlabelled line {number}: {error}; it needs request_id and {wanted}") from None
    return list(found.values())


def _request(question: Mapping[str, Any], teacher: str, by: Teaching, sample: int) -> Request:
    if by.kind == "classify":
        return Request(endpoint="classify", body={"model": teacher, "input": question["text"]}, label=by.label)
    body: dict[str, Any] = {"model": teacher, "messages": question["messages"], "max_tokens": by.max_tokens}
    body["temperature"] = by.temperature if by.samples > 1 else 0
    if by.samples > 1:
        body["seed"] = by.seed * 1000 + sample
    if by.schema is not None:
        form = {"name": "answer", "schema": by.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return Request(endpoint="chat.completions", body=body, label=by.label)


def _lesson(request_id: str, given: Sequence[Answer], by: Teaching) -> Lesson:
    decided: Vote = vote([_text(one, by.kind) for one in given], kind=by.kind)
    return Lesson(
        request_id=request_id,
        answer=decided.answer,
        agreement=decided.share,
        calls=len(given),
        engine_s=sum(one.latency_s for one in given),
        prompt_tokens=sum(one.usage.prompt_tokens for one in given),
        completion_tokens=sum(one.usage.completion_tokens for one in given),
    )


def _text(answer: Answer, kind: str) -> str:
    """Return what was said; empty where the response holds nothing, or an answer that was cut off."""
    try:
        if kind == "classify":
            return str(answer.body["data"][0]["label"])
        choice = answer.body["choices"][0]
        return "" if choice.get("finish_reason") == "length" else str(choice["message"]["content"] or "").strip()
    except (KeyError, IndexError, TypeError, AttributeError):
        return ""


def _message(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    if isinstance(error, dict):
        return str(error.get("message", error))
    return "no whole answer in the response (cut off, or empty)" if not error else str(error)


def _taught(
    questions: Sequence[Mapping[str, Any]], lessons: Mapping[str, Lesson], by: Teaching, failures: Sequence[str]
) -> Taught:
    answered = [(one, lessons[one["request_id"]]) for one in questions if one["request_id"] in lessons]
    rows = [_row(one, lesson, by) for one, lesson in answered if _believed(lesson, by)]
    return Taught(
        rows=b"".join(msgspec.json.encode(row) + b"\n" for row in rows),
        questions=len(questions),
        answered=len(answered),
        used=len(rows),
        calls=sum(lesson.calls for _, lesson in answered),
        engine_s=sum(lesson.engine_s for _, lesson in answered),
        prompt_tokens=sum(lesson.prompt_tokens for _, lesson in answered),
        completion_tokens=sum(lesson.completion_tokens for _, lesson in answered),
        failures=tuple(dict.fromkeys(failures))[:5],
        complete=len(answered) == len(questions),
    )


def _believed(lesson: Lesson, by: Teaching) -> bool:
    known = by.kind != "classify" or not by.labels or lesson.answer in by.labels
    return bool(lesson.answer) and lesson.agreement >= by.agreement and known


def _row(question: Mapping[str, Any], lesson: Lesson, by: Teaching) -> dict[str, Any]:
    about = {"request_id": lesson.request_id, "agreement": round(lesson.agreement, 4)}
    if by.kind == "classify":
        return {"text": question["text"], "label": lesson.answer, **about}
    return {"messages": [*question["messages"], {"role": "assistant", "content": lesson.answer}], **about}
