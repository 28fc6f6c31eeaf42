"""A home with traffic: a real ledger, real bodies, and people who say what they think of answers."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tokenworks.core.task import Task, TaskCheck, TaskData, TaskHead, TaskTurn
from tokenworks.flywheel.select.select import HASHED, Selection, select
from tokenworks.ledger.bodies import Bodies
from tokenworks.ledger.entries import ErasureEntry, FeedbackEntry, RequestEntry
from tokenworks.line.run import Runner

NOW = 1_800_000_000.0
WORDS = {
    "billing": ("invoice", "refund", "charge", "fee", "payment", "receipt", "amount", "tax", "statement", "price"),
    "shipping": ("parcel", "courier", "delivery", "address", "box", "tracking", "depot", "truck", "label", "customs"),
    "access": ("password", "login", "account", "reset", "email", "locked", "browser", "device", "session", "user"),
}


def question(label: str, rng: random.Random) -> str:
    """A question of a class, in words of its own."""
    return " ".join(rng.choices(WORDS[label], k=6)) + f" n{rng.randrange(10**6)}"


def examples(count: int, seed: int = 1) -> list[dict[str, str]]:
    rng = random.Random(seed)
    return [{"text": question(label, rng), "label": label} for label in WORDS for _ in range(count)]


@dataclass
class Home:
    """What a test asks and says; `select` reads it all back."""

    root: Path
    runner: Runner
    bodies: Bodies
    evals: dict[str, str] = field(default_factory=dict)
    earlier: str = ""
    clock: float = NOW - 10 * 86_400
    count: int = 0

    def blob(self, rows) -> str:
        return self.runner.artifacts.put_bytes(msgspec.json.Encoder().encode_lines(rows))

    def ask(self, text, answer="billing", *, confidence=0.9, endpoint="classify", **changes) -> str:
        """Record a request with its bodies; return its id."""
        self.count += 1
        self.clock += 1
        name = f"req-{self.count:05d}"
        facts = {
            "at": self.clock,
            "request_id": name,
            "endpoint": endpoint,
            "outcome": "ok",
            "status": 200,
            "tenant": "clinic",
            "key_id": "key-1",
            "model": "route",
            "version": "route@1",
            "label": "internal",
        }
        body, reply = _bodies(endpoint, text, answer, confidence)
        self.bodies.put(name, body, reply)
        self.runner.ledger.append(RequestEntry(**{**facts, **changes}))
        return name

    def say(self, request_id: str, correction: str | None = None, **changes) -> str:
        """Record feedback; return its id."""
        self.count += 1
        self.clock += 1
        name = f"fb-{self.count:05d}"
        if correction is not None:
            self.bodies.put_correction(name, correction)
        facts = {
            "at": self.clock,
            "feedback_id": name,
            "request_id": request_id,
            "key_id": "key-1",
            "tenant": "clinic",
            "has_correction": correction is not None,
        }
        self.runner.ledger.append(FeedbackEntry(**{**facts, **changes}))
        return name

    def correct(self, text: str, right: str, user: str = "", **changes) -> str:
        """Ask, get a wrong answer, and say what is right; return the request."""
        name = self.ask(text, answer="other", user=user, **changes)
        self.say(name, right, user=user)
        return name

    def erase(self, **changes) -> None:
        self.runner.ledger.append(ErasureEntry(at=NOW + 5, erasure_id="er-1", tenant="clinic", **changes))

    def select(self, task: Task, *, until: float = NOW, since: float = 0.0, encoder: str = HASHED) -> Selection:
        return select(
            task,
            self.runner,
            self.root,
            self.bodies,
            until=until,
            evals=self.evals,
            earlier=self.earlier,
            since=since,
            encoder=encoder,
        )

    def rows(self, digest: str) -> list[dict]:
        return [msgspec.json.decode(line) for line in self.runner.artifacts.get_bytes(digest).splitlines()]

    def learned(self, selection: Selection) -> list[dict]:
        return self.rows(selection.train) + self.rows(selection.fresh)


def _bodies(endpoint: str, text, answer: str, confidence: float) -> tuple[bytes, bytes]:
    encode = msgspec.json.encode
    if endpoint == "classify":
        reply = {"data": [{"index": 0, "label": answer, "probs": [confidence, 1 - confidence]}]}
        return encode({"model": "route", "input": text}), encode(reply)
    if endpoint == "search":
        return encode({"query": text}), encode({"data": [{"file_id": answer, "filename": "x"}]})
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    reply = {"choices": [{"message": {"role": "assistant", "content": answer}}]}
    return encode({"model": "route", "messages": messages}), encode(reply)


def task_of(kind: str = "classify", **turn) -> Task:
    return Task(
        task=TaskHead(name="route", kind=kind, label="confidential"),
        data=TaskData(),
        check=TaskCheck(),
        turn=TaskTurn(**turn),
    )
