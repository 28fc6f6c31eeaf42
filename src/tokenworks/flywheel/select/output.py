"""The parts of a selection as JSON lines."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from tokenworks.core.stage import Bench
from tokenworks.flywheel.select import privacy
from tokenworks.flywheel.select.decontaminate import EvalTexts, repeats
from tokenworks.flywheel.select.meaning import asked_text
from tokenworks.flywheel.select.quarantine import Held
from tokenworks.flywheel.select.rows import Row, Sieve, of_part
from tokenworks.flywheel.select.signals import Signal
from tokenworks.flywheel.select.split import fresh_groups

_SHOWN = 200  # characters of a text in quarantine
_LINES = msgspec.json.Encoder().encode_lines


class Division(Protocol):
    """What of the parameters decides how rows are divided."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def fresh(self) -> float: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def learned_until(self) -> float: ...  # noqa: D102
    @property
    def since(self) -> float: ...  # noqa: D102
    @property
    def most_unlabelled(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Written:
    """What was written."""

    digests: dict[str, str]
    counts: dict[str, int]
    labels: frozenset[str]  # of all requests behind it
    new: int


def write_parts(
    sieve: Sieve, unlabelled: Sequence[Signal], params: Division, bench: Bench, evals: Collection[EvalTexts]
) -> Written:
    """Store every part; return digests and counts."""
    examples = of_part(sieve.rows, "example")
    groups = fresh_groups(examples, share=params.fresh, seed=params.seed, learned_until=params.learned_until)
    fresh = [row for row in examples if row.group in groups]
    # Pairs and clicks of a group that is measured on are not learned from either.
    pairs = [row for row in of_part(sieve.rows, "pair") if row.group not in groups]
    sieve.set_aside["pair of a group that is measured on"] += len(of_part(sieve.rows, "pair")) - len(pairs)
    clicks = of_part(sieve.rows, "click")
    asked = list(_unlabelled(unlabelled, sieve, params.most_unlabelled, evals))
    parts: dict[str, list[Any]] = {
        "train": [_example(row, params.kind) for row in examples if row.group not in groups],
        "fresh": [_example(row, params.kind) for row in fresh],
        "pairs": [_pair(row) for row in pairs],
        "clicks": [_click(row) for row in clicks],
        "unlabelled": [_question(signal) for signal in asked],
        "quarantine": [_held(row, reason) for row, reason in sieve.held],
    }
    used = [*examples, *pairs, *clicks]
    names = sorted({row.request_id for row in used} | {signal.request_id for signal in asked})
    parts["members"] = [{"request_id": name} for name in names]
    return Written(
        digests={name: bench.artifacts.put_bytes(_LINES(rows)) for name, rows in parts.items()},
        counts={name: len(rows) for name, rows in parts.items() if name not in ("members", "quarantine")},
        labels=frozenset([*(row.label for row in used), *(signal.label for signal in asked)]),
        new=sum(row.at > params.since for row in used),
    )


def _unlabelled(signals: Sequence[Signal], sieve: Sieve, most: int, evals: Collection[EvalTexts]) -> Iterator[Signal]:
    """Yield the questions without a right answer that the model was least sure of, each text once."""
    seen = {row.text for row in sieve.rows} | {row.text for row, _ in sieve.held}
    ordered = sorted(signals, key=lambda one: (_sureness(one), one.request_id))
    for signal in ordered:
        text = asked_text(signal)
        if most <= 0 or text in seen or not text.strip() or privacy.has_secret(text) or repeats(text, evals):
            continue
        seen.add(text)
        most -= 1
        yield signal


def _sureness(signal: Signal) -> float:
    return 1.0 if signal.confidence is None else signal.confidence


def _example(row: Row, kind: str) -> dict[str, Any]:
    rest = {"request_id": row.request_id, "at": row.at, "group": row.group}
    if kind == "classify":
        return {"text": row.text, "label": row.answer, **rest}
    messages = [*row.messages, {"role": "assistant", "content": row.answer}]
    return {"messages": messages, **({"tools": row.tools} if row.tools else {}), **rest}


def _pair(row: Row) -> dict[str, Any]:
    return {
        "messages": row.messages,
        "chosen": row.answer,
        "rejected": row.rejected,
        "request_id": row.request_id,
        "at": row.at,
        "group": row.group,
    }


def _click(row: Row) -> dict[str, Any]:
    return {
        "query": row.text,
        "document": row.answer,
        "request_id": row.request_id,
        "at": row.at,
        "group": row.group,
    }


def _question(signal: Signal) -> dict[str, Any]:
    asked: dict[str, Any] = (
        {"messages": privacy.masked_messages(signal.messages)}
        if signal.messages
        else {"text": privacy.masked_text(signal.text)}
    )
    return {**asked, "request_id": signal.request_id, "answer": signal.answer, "confidence": signal.confidence}


def _held(row: Row, reason: str) -> Held:
    return Held(
        request_id=row.request_id,
        feedback_id=row.feedback_id,
        principal=row.principal,
        reason=reason,
        label=row.answer[:_SHOWN],
        text=row.text[:_SHOWN],
    )
