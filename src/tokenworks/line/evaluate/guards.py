"""What a candidate may not lose while it gains: what is safe, its speed, and what a right answer costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenworks.core.task import TaskCheck
from tokenworks.line.evaluate.cost import Cost
from tokenworks.line.evaluate.ratios import ENOUGH, Ratio, cost_ratio, latency_ratio
from tokenworks.line.evaluate.report import Evaluation, Figure, Item, paired_items
from tokenworks.line.evaluate.sizing import safety_bound, safety_items
from tokenworks.line.evaluate.timing import Timed
from tokenworks.line.evaluate.verdict import Check, Verdict

SPEED = {"latency_p95": "latency", "cost": "cost per right answer"}


@dataclass(frozen=True)
class Guarded:
    """What the guards found."""

    checks: tuple[Check, ...] = ()
    ratios: dict[str, Ratio] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def guard_speed(
    candidate: Evaluation,
    incumbent: Evaluation,
    check: TaskCheck,
    cost: Cost,
    alpha: float,
    timed: Timed | None = None,
) -> Guarded:
    """Refuse what is proven to be slower, or to cost more, than its margin allows; say what is not decided.

    Times carry the noise of the machine, which no resampling of items sees: so a refusal wants a second witness. The
    best is `timed`, both models asked in turns; without it the answers timed one at a time and the rate under load.
    """
    mine, theirs = paired_items(candidate.items, incumbent.items)
    found = {
        "latency_p95": (latency_ratio(mine, theirs, alpha=alpha), check.latency_margin),
        "cost": (cost_ratio(mine, theirs, cost, alpha=alpha), check.cost_margin),
    }
    witnesses = {
        "latency_p95": _times(candidate, incumbent, "latency_p95_s"),
        "cost": _dearer(candidate, incumbent, mine, theirs),
    }
    if timed is not None:
        witnesses = {"latency_p95": timed.p95, "cost": _times_right(timed.total, mine, theirs)}
    ratios = {name: ratio for name, (ratio, _) in found.items() if ratio is not None}
    checks = tuple(_not_above(SPEED[name], ratio, found[name][1], witnesses[name]) for name, ratio in ratios.items())
    return Guarded(checks, ratios)


def slow(verdict: Verdict) -> bool:
    """Return whether `verdict` refuses for speed or cost: both models are then worth timing in turns."""
    return any(check.name in SPEED.values() and not check.holds for check in verdict.checks)


def guard_safety(candidate: Evaluation, incumbent: Evaluation, margin: float, alpha: float) -> Guarded:
    """Refuse a candidate that is wrong on any safety item on which the incumbent is right."""
    mine, theirs = paired_items(candidate.items, incumbent.items)
    held = [(a, b) for a, b in zip(mine, theirs, strict=True) if b.score == 1]
    lost = [a.id for a, _ in held if a.score != 1]
    if not theirs:
        says = "the two reports have no safety item in common: evaluate both on the same items"
        return Guarded((Check(name="safety", holds=False, says=says),))
    if not held:
        says = f"the incumbent is right on none of {len(theirs)} safety items, so none can turn wrong"
        return Guarded((Check(name="safety", holds=True, says=says),))
    if lost:
        says = f"{len(lost)} of {len(held)} safety items that were right are wrong now, item {lost[0]} for one"
        return Guarded((Check(name="safety", holds=False, says=says),))
    bound = safety_bound(len(held), alpha=alpha)
    says = f"0 of {len(held)} turned wrong: with {1 - alpha:.0%} confidence fewer than {bound:.2%} do (rule of three)"
    wanted = safety_items(margin, alpha=alpha) if margin > 0 else len(held)
    few = f"safety: {len(held)} items exclude {bound:.2%} of regressions; {wanted} would exclude {margin:.2g}"
    return Guarded((Check(name="safety", holds=True, says=says),), notes=(few,) if len(held) < wanted else ())


def _not_above(title: str, ratio: Ratio, margin: float, witness: float | None) -> Check:
    told = f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}] on {ratio.n} items"
    told += f" ({_amount(ratio.candidate, ratio.unit)} against {_amount(ratio.incumbent, ratio.unit)})"
    told += f", may be {1 + margin:.2f}x"
    if ratio.n < ENOUGH:
        return Check(name=title, holds=True, says=f"{told}: not decided, it takes {ENOUGH} items")
    if ratio.within(margin):
        return Check(name=title, holds=True, says=told)
    if not ratio.exceeds(margin):
        return Check(name=title, holds=True, says=f"{told}: not decided")
    if witness is not None and witness <= 1 + margin:
        return Check(name=title, holds=True, says=f"{told}: not decided, measured again it was {witness:.2f}x")
    return Check(name=title, holds=False, says=told)


def _times(candidate: Evaluation, incumbent: Evaluation, name: str) -> float | None:
    """Return the ratio of a figure of both reports, None where it was not measured."""
    mine, theirs = candidate.figures.get(name), incumbent.figures.get(name)
    if mine is None or theirs is None or not (_measured(mine) and _measured(theirs)):
        return None
    return mine.value / theirs.value


def _dearer(candidate: Evaluation, incumbent: Evaluation, mine: Sequence[Item], theirs: Sequence[Item]) -> float | None:
    """Return the ratio of seconds per right answer under load: (1 / answers per second) / share of right ones."""
    rate = _times(incumbent, candidate, "answers_per_s")
    return None if rate is None else _times_right(rate, mine, theirs)


def _times_right(ratio: float, mine: Sequence[Item], theirs: Sequence[Item]) -> float | None:
    """Return the ratio of times an answer as that of times a right answer."""
    right, other = sum(item.score for item in mine), sum(item.score for item in theirs)
    return ratio * other / right if right > 0 else None


def _measured(figure: Figure) -> bool:
    return figure.n > 0 and figure.value > 0


def _amount(value: float, unit: str) -> str:
    return f"{value * 1e3:.3g} ms" if unit == "s" else f"{value:.3g} {unit}"
