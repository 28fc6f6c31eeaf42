"""`evaluate --sweep reasoning`: what each way of thinking brings a model on questions with known answers.

Every question is sampled once, as often as any way may draw; then each way thinks over those recorded samples. So all
of them are compared on the same draws, and a sweep costs no more than its largest way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from tokenworks.core.errors import DataError
from tokenworks.factory.making import Making
from tokenworks.factory.sampling import Question, Told, asking, draw_all, entries_of, metered
from tokenworks.ledger.entries import RequestEntry
from tokenworks.line.evaluate.intervals import proportion
from tokenworks.line.evaluate.paired import paired_gain
from tokenworks.serving.thinking.answers import Read, reader, spelled
from tokenworks.serving.thinking.budget import Budget, Purse
from tokenworks.serving.thinking.contract import Draw, Outcome, Plan, Sample
from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.find import strategy_named
from tokenworks.serving.thinking.measured import KIND, PLAIN, Measured, Point, choose
from tokenworks.serving.thinking.voting import Poll
from tokenworks.store.nouns import Object

ALPHA = 0.025  # of each side: intervals are of 95 %
FIXED = "vote over all"
MICRO = 1_000_000
WAYS = (  # besides one sample; each may draw that share of the sweep's samples
    ("self-consistency", 4), ("self-consistency", 2), ("self-consistency", 1), ("confidence", 1), ("adaptive", 1),
)  # fmt: skip


class Early(msgspec.Struct, frozen=True, kw_only=True):
    """Stopping early beside voting over all samples, on the same questions."""

    difference: float  # of the shares of right answers
    low: float
    high: float
    tokens_share: float


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What came out."""

    measured: Measured
    early: Early
    notes: tuple[str, ...] = ()


class _Row(msgspec.Struct):
    right: float
    tokens: int
    joules: float
    cost: float
    samples: int


def sweep(
    making: Making,
    version: str,
    questions: Sequence[Question],
    *,
    answer: str = "",
    samples: int = 16,
    temperature: float | None = None,
    told: Told | None = None,
) -> Sweep:
    """Measure the ways of thinking of `version`, keep what came out as its model's default, and return it."""
    if samples < 4:
        raise DataError(f"a sweep over {samples} samples compares nothing; draw at least 4")
    read = reader(answer)
    ask = asking(making.answering.answer, version, temperature)
    drawn = asyncio.run(draw_all(questions, samples, ask, told or (lambda done, of: None)))
    entries = entries_of(making.ledger_root, drawn)
    drawn = [[metered(one, entries.get(one.id)) for one in row] for row in drawn]
    rows = {(name, most): _think_all(name, most, drawn, questions, read) for name, most in _ways(samples)}
    rows[FIXED, samples] = [_vote(row, want, read) for row, want in zip(drawn, questions, strict=True)]
    in_joules = all(one.joules is not None for row in drawn for one in row)
    costed = any(one.cost_micro for row in drawn for one in row)
    plain = rows[PLAIN, 1]
    points = tuple(_point(name, most, found, plain, in_joules, costed) for (name, most), found in rows.items())
    worth = making.settings.reasoning.worth
    best, why = choose(points, worth)
    measured = Measured(
        model=version.partition("@")[0],
        version=version,
        at=making.clock.now(),
        questions=len(questions),
        points=points,
        chosen=best.strategy,
        samples=best.most,
        why=why,
        worth=worth,
        joules_per_token=_most_joules(entries) if in_joules else None,
    )
    _keep(making, measured)
    return Sweep(measured=measured, early=_early(rows["self-consistency", samples], rows[FIXED, samples]))


def _ways(samples: int) -> list[tuple[str, int]]:
    return [(PLAIN, 1), *((name, samples // share) for name, share in WAYS)]


def _think_all(
    name: str, most: int, drawn: Sequence[Sequence[Sample]], questions: Sequence[Question], read: Read
) -> list[_Row]:
    async def think() -> list[_Row]:
        return [await _think(name, most, row, question, read) for row, question in zip(drawn, questions, strict=True)]

    return asyncio.run(think())


async def _think(name: str, most: int, row: Sequence[Sample], question: Question, read: Read) -> _Row:
    """Let a way think over recorded samples: the same code that answers callers."""

    async def recorded(draw: Draw, tokens: int | None) -> Sample:
        return row[draw.number - 1]

    purse = Purse(Budget(samples=most), {}, prompt=0)
    desk = Desk(recorded, purse, cost=lambda sample: {}, read=read)
    outcome: Outcome = await strategy_named(name, Plan(samples=most)).think(desk)
    return _row(outcome.answer, desk.samples, question)


def _vote(row: Sequence[Sample], question: Question, read: Read) -> _Row:
    poll = Poll()
    for sample in row:
        poll.add(sample, read(sample.text) if sample.whole else "")
    return _row(poll.chosen()[1] if poll.voters else "", row, question)


def _row(answer: str, samples: Sequence[Sample], question: Question) -> _Row:
    return _Row(
        right=float(answer == spelled(question.expected)),
        tokens=sum(one.completion_tokens for one in samples),
        joules=sum(one.joules or 0.0 for one in samples),
        cost=sum(one.cost_micro for one in samples) / MICRO,
        samples=len(samples),
    )


def _point(name: str, most: int, rows: Sequence[_Row], plain: Sequence[_Row], in_joules: bool, costed: bool) -> Point:
    share = proportion("right", sum(row.right for row in rows), len(rows))
    gain, low, high = _paired(rows, plain)
    return Point(
        strategy=name,
        most=most,
        samples=_mean([row.samples for row in rows]),
        accuracy=share.value,
        low=share.low,
        high=share.high,
        tokens=_mean([row.tokens for row in rows]),
        joules=_mean([row.joules for row in rows]) if in_joules else None,
        cost=_mean([row.cost for row in rows]) if costed else None,
        gain=gain,
        gain_low=low,
        gain_high=high,
        eligible=name != FIXED,
    )


def _paired(rows: Sequence[_Row], other: Sequence[_Row]) -> tuple[float, float, float]:
    gain = np.array([a.right - b.right for a, b in zip(rows, other, strict=True)])
    pair = paired_gain(gain, np.ones(len(gain)), np.arange(len(gain)), alpha=ALPHA)
    return pair.difference, pair.low, pair.high


def _early(early: Sequence[_Row], fixed: Sequence[_Row]) -> Early:
    difference, low, high = _paired(early, fixed)
    share = sum(row.tokens for row in early) / max(1, sum(row.tokens for row in fixed))
    return Early(difference=difference, low=low, high=high, tokens_share=share)


def _most_joules(entries: Mapping[str, RequestEntry]) -> float:
    """Return the most joules that a token of any sample took, with two standard errors."""
    return max(
        (one.joules or 0.0) * (1 + 2 * one.joules_error) / max(1, one.prompt_tokens + one.completion_tokens)
        for one in entries.values()
    )


def _keep(making: Making, measured: Measured) -> None:
    """Make it the model's default; of two sweeps at once one is kept whole."""
    objects, body = making.catalog.objects, msgspec.to_builtins(measured)
    known = objects.get(KIND, measured.model)
    if known is None:
        objects.add(Object(kind=KIND, id=measured.model, scope=measured.model, body=body, created_at=measured.at))
    else:
        objects.update(msgspec.structs.replace(known, body=body))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def sweep_lines(found: Sweep) -> list[str]:
    """Return the curve as a table, the saving of stopping early, and the default with its reason."""
    measured, early = found.measured, found.early
    head = f"{'way':<18}{'at most':>8}{'samples':>9}{'right':>8}  {'95 %':<16}{'tokens':>8}{'tokens/right':>14}"
    costed = measured.points[0].cost is not None
    lines = [
        f"{measured.version}: {measured.questions} questions",
        head + ("  joules" if measured.points[0].joules is not None else "") + ("     cost" if costed else ""),
    ]
    for one in measured.points:
        per_right = one.tokens / one.accuracy if one.accuracy else float("inf")
        lines.append(
            f"{one.strategy:<18}{one.most:>8}{one.samples:>9.2f}{one.accuracy:>8.3f}  "
            f"[{one.low:.3f}, {one.high:.3f}]{'':<2}{one.tokens:>8.1f}{per_right:>14.1f}"
            + ("" if one.joules is None else f"{one.joules:>8.2f}")
            + ("" if one.cost is None else f"{one.cost:>9.6f}")
        )
    lines.append(
        f"stopping early beside voting over all: {100 * early.difference:+.2f} points "
        f"[{100 * early.low:+.2f}, {100 * early.high:+.2f}] for {100 * early.tokens_share:.0f} % of the tokens"
    )
    return [*lines, f"default: {measured.chosen} (up to {measured.samples} samples): {measured.why}"]
