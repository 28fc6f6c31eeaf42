"""May this candidate replace what is there? Promote, reject, or say how many more items would decide.

Knows reports only: what was asked and who answered is over by now. The rules: docs/decisions/0050 and 0120.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenworks.core.task import TaskCheck, TaskLimits
from tokenworks.line.evaluate.cost import Cost, EngineSeconds
from tokenworks.line.evaluate.gains import compare, look_for
from tokenworks.line.evaluate.grade import Metric, metric_named
from tokenworks.line.evaluate.guards import Guarded, guard_safety, guard_speed
from tokenworks.line.evaluate.paired import Paired, items_needed, words
from tokenworks.line.evaluate.report import Evaluation, Figure, paired_items
from tokenworks.line.evaluate.soundness import failing, sound, whole
from tokenworks.line.evaluate.timing import Timed
from tokenworks.line.evaluate.verdict import Check, Decision, Verdict

ALPHA = 0.05
POWER = 0.8
ENGINE_SECONDS = EngineSeconds()
Both = tuple[Evaluation, Evaluation]  # candidate and incumbent on the same items


@dataclass(frozen=True)
class _Contest:
    """How the comparison ended, before floors and limits have their say."""

    decision: Decision
    checks: tuple[Check, ...]
    reasons: tuple[str, ...]
    paired: dict[str, Paired]
    more_items: int = 0


def decide(
    candidate: Evaluation,
    incumbent: Evaluation | None,
    *,
    check: TaskCheck,
    limits: TaskLimits,
    fresh: Both | None = None,
    general: Both | None = None,
    safety: Both | None = None,
    cost: Cost = ENGINE_SECONDS,
    timed: Timed | None = None,
    alpha: float = ALPHA,
    power: float = POWER,
) -> Verdict:
    """Return the verdict on `candidate`.

    Against an `incumbent` it must be not worse than `check.margin` on the gold items, and show a gain (`gains.py`) on
    these or on `fresh`: (candidate, incumbent) evaluated on the same items from feedback that neither was trained on.
    On `general` it must be not worse either, on `safety` no item may turn wrong, and neither p95 latency nor the `cost`
    of a right answer may be proven to exceed its margin; `timed` are both asked in turns, where that was doubted.
    Without an incumbent it must beat its best baseline. Floors, per class too, and limits hold in any case. Over all
    tests together an equal model is promoted with a probability of `alpha` at most.
    """
    metric = metric_named(candidate.metric)
    against, other = _other(candidate, incumbent, metric)
    hard = [*_floors(candidate, check, metric), *_limits(candidate, limits)]
    unsound, guarded, cut = sound(candidate), Guarded(), tuple[str, ...]()
    if incumbent is not None and incumbent.metric == candidate.metric and not unsound:
        speed = guard_speed(candidate, incumbent, check, cost, alpha, timed)
        guarded = _guarded(candidate, incumbent, safety, check.margin, speed, alpha)
        candidate, cut = whole(candidate, incumbent)
        fresh, general = _whole(fresh), _whole(general)
    hard += [*unsound, *guarded.checks]
    if unsound:
        contest = _Contest("reject", (), (), {})
    elif other is None:
        contest = _alone(hard)
    elif other.metric != candidate.metric:
        why = f"{against} was judged by {other.metric}, the candidate by {candidate.metric}: evaluate it again"
        contest = _Contest("reject", (), (why,), {})
    elif incumbent is None:
        contest = _first(candidate, other, against, metric, check.margin, alpha, power)
    else:
        contest = _next(candidate, other, fresh, metric, check.margin, alpha, power)
        if general is not None:
            contest = _remembering(contest, general, metric, check.margin, alpha, power)
    broken = tuple(f"{item.name}: {item.says}" for item in hard if not item.holds)
    lost = () if contest.decision == "promote" else contest.reasons
    return Verdict(
        decision="reject" if broken else contest.decision,
        task=candidate.task,
        candidate=candidate.model_ref,
        against=against,
        metric=candidate.metric,
        reasons=(*broken, *lost) if broken else contest.reasons,
        checks=(*hard, *contest.checks),
        paired=contest.paired,
        ratios=guarded.ratios,
        candidate_figure=candidate.headline if math.isfinite(candidate.headline.value) else None,
        against_figure=other.headline if other and other.metric == candidate.metric else None,
        more_items=0 if broken else contest.more_items,
        margin=check.margin,
        alpha=alpha,
        power=power,
        notes=(*candidate.notes, *guarded.notes, *cut, *_unchecked(candidate, limits), *_unshared(candidate, other)),
    )


def _guarded(
    candidate: Evaluation, incumbent: Evaluation, safety: Both | None, margin: float, speed: Guarded, alpha: float
) -> Guarded:
    kept = guard_safety(whole(*safety)[0], safety[1], margin, alpha) if safety else Guarded()
    answers = failing(candidate, incumbent, alpha)
    return Guarded((*answers, *kept.checks, *speed.checks), speed.ratios, kept.notes)


def _whole(both: Both | None) -> Both | None:
    return (whole(*both)[0], both[1]) if both else None


def _remembering(
    contest: _Contest, general: Both, metric: Metric, margin: float, alpha: float, power: float
) -> _Contest:
    """Hold a contest back whose winner forgot, or may have forgotten, what is general."""
    pair = compare(*general, metric, alpha)
    holds = pair.low > -margin and pair.n > 0
    check = Check(name="not worse on general", holds=holds, says=f"{words(pair)}, margin {margin:g}")
    seen = replace(contest, checks=(*contest.checks, check), paired={**contest.paired, "general": pair})
    if holds or contest.decision == "reject":
        return seen
    decision, why, more = _short_of(pair, "not worse", margin, alpha, power)
    return replace(seen, decision=decision, reasons=(f"on the general items {why}",), more_items=more)


def _other(candidate: Evaluation, incumbent: Evaluation | None, metric: Metric) -> tuple[str, Evaluation | None]:
    if incumbent is not None:
        return incumbent.model_ref or "incumbent", incumbent
    best = candidate.best_baseline(metric.BETTER)
    return (f"baseline:{best[0]}", best[1]) if best else ("", None)


def _alone(hard: Sequence[Check]) -> _Contest:
    """Decide on a first model that has no baseline: a floor is then the only thing it can prove itself on."""
    if any(item.name.startswith("floor") for item in hard):
        return _Contest("promote", (), ("it is the first model, no baseline applies, and its floors hold",), {})
    why = "there is nothing to compare with: no incumbent, no baseline, no floor; set check.floor = { overall = ... }"
    return _Contest("reject", (), (why,), {})


def _first(
    candidate: Evaluation, baseline: Evaluation, against: str, metric: Metric, margin: float, alpha: float, power: float
) -> _Contest:
    pair = compare(candidate, baseline, metric, alpha)
    better = Check(name=f"better than {against}", holds=pair.superior, says=words(pair))
    if pair.superior:
        return _Contest("promote", (better,), (f"it beats {against} by {words(pair)}",), {"gold": pair})
    decision, why, more = _short_of(pair, "better", margin, alpha, power)
    return _Contest(decision, (better,), (f"against {against}: {why}",), {"gold": pair}, more)


def _next(
    candidate: Evaluation,
    incumbent: Evaluation,
    fresh: tuple[Evaluation, Evaluation] | None,
    metric: Metric,
    margin: float,
    alpha: float,
    power: float,
) -> _Contest:
    floor = compare(candidate, incumbent, metric, alpha)
    gains = look_for(candidate, incumbent, fresh, metric, alpha)
    paired = {"gold": floor, **gains.pairs}
    not_worse = Check(
        name="not worse", holds=floor.low > -margin and floor.n > 0, says=f"{words(floor)}, margin {margin:g}"
    )
    checks = (not_worse, *gains.checks)
    if not not_worse.holds:
        decision, why, more = _short_of(floor, "not worse", margin, alpha, power)
        return _Contest(decision, checks, (why,), paired, more)
    if gains.shown:
        return _Contest("promote", checks, (*gains.shown, f"it is not worse by {margin:g} or more on gold"), paired)
    where, closest = gains.closest
    decision, why, more = _short_of(closest, "better", margin, gains.alpha, power)
    return _Contest(decision, checks, (f"it is not worse, and on the {where} items {why}",), paired, more)


def _short_of(pair: Paired, goal: str, margin: float, alpha: float, power: float) -> tuple[Decision, str, int]:
    """Say what is missing to `goal`: refuse what the items already decide, else count those that would decide it."""
    if pair.n == 0:
        return "reject", "the two reports have no item in common: evaluate both on the same gold set", 0
    if pair.inferior or pair.high < -margin:
        return "reject", f"it is worse: {words(pair)}", 0
    if goal == "better" and pair.difference <= 0:
        return "reject", f"no improvement was seen: {words(pair)}", 0
    if goal == "not worse" and pair.difference <= -margin:
        return "reject", f"it may well be worse than the margin of {margin:g}: {words(pair)}", 0
    wanted = margin or abs(pair.difference)
    if wanted <= 0:
        return "reject", f"with a margin of 0 an equal model cannot pass: {words(pair)}", 0
    more = items_needed(wanted, max(pair.spread, 1 / pair.n), alpha=alpha, power=power) - pair.n
    if more <= 0:
        return (
            "reject",
            f"{pair.n} items are enough to see {wanted:g}, and it is not shown to be {goal}: {words(pair)}",
            0,
        )
    return "need-more", f"needs {more:,} more items to decide a margin of {wanted:g}: {words(pair)}", more


def _floors(candidate: Evaluation, check: TaskCheck, metric: Metric) -> list[Check]:
    known = {"overall": candidate.headline, **candidate.per_class}
    found = []
    for name, floor in check.floor.items():
        figure = known.get(name)
        if figure is None or figure.n == 0:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; nearest is {near[0]!r}" if near else f"; there are: {', '.join(sorted(known)[:10])}"
            found.append(Check(name=f"floor {name}", holds=False, says=f"no gold item speaks for it{hint}"))
            continue
        sign = 1.0 if metric.BETTER == "higher" or name != "overall" else -1.0
        word = "at least" if sign > 0 else "at most"
        holds = sign * figure.value >= sign * floor
        found.append(Check(name=f"floor {name}", holds=holds, says=f"{figure}, must be {word} {floor:g}"))
    return found


def _limits(candidate: Evaluation, limits: TaskLimits) -> list[Check]:
    if limits.p95_ms is None:
        return []
    figure = candidate.figures.get("latency_p95_s")
    if figure is None or figure.n == 0:
        says = f"latency was not measured, the limit is {limits.p95_ms:g} ms: evaluate through the gateway"
        return [Check(name="p95", holds=False, says=says)]
    says = f"{_milliseconds(figure)}, must be at most {limits.p95_ms:g} ms"
    return [Check(name="p95", holds=figure.value * 1000 <= limits.p95_ms, says=says)]


def _unchecked(candidate: Evaluation, limits: TaskLimits) -> tuple[str, ...]:
    asked = {"joules_per_answer": limits.joules_per_answer, "cost_per_1k_answers": limits.cost_per_1k_answers}
    return tuple(
        f"limits.{name} = {value:g} was not checked: nothing here measures it yet"
        for name, value in asked.items()
        if value is not None
    )


def _unshared(candidate: Evaluation, other: Evaluation | None) -> tuple[str, ...]:
    if other is None:
        return ()
    shared = len(paired_items(candidate.items, other.items)[0])
    lost = len(candidate.items) + len(other.items) - 2 * shared
    return (f"{lost} items are in only one of the two reports and were left out of the comparison",) if lost else ()


def _milliseconds(figure: Figure) -> str:
    return f"{figure.value * 1e3:.3g} ms [{figure.low * 1e3:.3g}, {figure.high * 1e3:.3g}] (n={figure.n})"
