"""From replies to items, and from items to figures. Every figure has its n and interval; none is ever NaN."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from tokenworks.core.errors import EngineError
from tokenworks.line.evaluate.asking import Asked, Reply
from tokenworks.line.evaluate.gold import Gold
from tokenworks.line.evaluate.grade import grader_named, metric_named
from tokenworks.line.evaluate.intervals import mean_score, proportion, quantile, weighted_mean
from tokenworks.line.evaluate.questions import answered, confidence_of, finish_of
from tokenworks.line.evaluate.report import QUADRATIC, Figure, Item

ALSO = {"classify": ("accuracy", "macro_f1")}  # told beside the task's metric


def judge(gold: Sequence[Gold], replies: Sequence[Reply], *, kind: str, metric: str) -> list[Item]:
    """Return a scored item for each gold item. A failed answer is wrong, and says why."""
    grader = grader_named(metric)
    items = []
    for want, reply in zip(gold, replies, strict=True):
        text, error = answered(reply, kind=kind)
        grade = grader.grade(want.row, text)
        if not math.isfinite(grade.score):
            error = error or f"the score of the answer is {grade.score}"
        items.append(
            Item(
                id=want.id,
                score=0.0 if error else grade.score,
                group=grade.group,
                predicted=grade.predicted,
                cluster=want.cluster,
                parts=grade.parts | (_sureness(reply, grade.score, error) if kind == "classify" else {}),
                latency_s=reply.latency_s,
                ttft_s=reply.ttft_s,
                tokens=reply.tokens,
                error=error,
                finish=finish_of(reply, text, kind=kind),
            )
        )
    return items


def _sureness(reply: Reply, score: float, error: str) -> dict[str, float]:
    """Return the quadratic score of a class named with probability p: 2 p right - p^2, from -1 to 1.

    It is proper (Brier 1950): told what is true of it, a model gains nothing by claiming more or less. Its mean is that
    of p^2 for honest probabilities, so it grows with accuracy and shows gains that accuracy needs more items for.
    """
    if error:
        return {QUADRATIC: -1.0}
    sure = confidence_of(reply)
    return {} if sure is None else {QUADRATIC: 2 * sure * score - sure**2}


def figures_of(items: Sequence[Item], *, kind: str, metric: str) -> dict[str, Figure]:
    """Return the metric, those told beside it, and the means of the items' parts."""
    names = dict.fromkeys((metric, *ALSO.get(kind, ())))
    found = {name: metric_named(name).figure(items) for name in names}
    for part in sorted({name for item in items for name in item.parts}):
        found[part] = mean_score(part, [item.parts.get(part, 0.0) for item in items])
    return found


def per_class(items: Sequence[Item]) -> dict[str, Figure]:
    """Return the share of right items in each gold class, under 'class:NAME'."""
    counts, right = Counter(item.group for item in items), Counter(item.group for item in items if item.score == 1)
    return {f"class:{name}": proportion(f"class:{name}", right[name], counts[name]) for name in sorted(counts) if name}


def latencies(replies: Sequence[Reply]) -> dict[str, Figure]:
    """Return p50 and p95 of answers asked one at a time; failed ones do not count as fast."""
    whole = [reply.latency_s for reply in replies if not reply.error]
    first = [reply.ttft_s for reply in replies if not reply.error]
    named = {"latency_p50_s": (whole, 0.5), "latency_p95_s": (whole, 0.95)}
    named |= {"ttft_p50_s": (first, 0.5), "ttft_p95_s": (first, 0.95)}
    return {name: quantile(name, values, q) for name, (values, q) in named.items()}


def rates(asked: Asked) -> dict[str, Figure]:
    """Return answers/s and generated tokens/s under load.

    Intervals come from the spread between answers: each one's rate weighted by its time, times how many ran at once.
    """
    done = [reply for reply in asked.replies if not reply.error and reply.latency_s > 0]
    times = [reply.latency_s for reply in done]
    at_once = sum(times) / asked.seconds if asked.seconds > 0 else 0.0
    found = {}
    for name, work in (("answers_per_s", [1] * len(done)), ("tokens_per_s", [reply.tokens for reply in done])):
        one = weighted_mean(name, [amount / time for amount, time in zip(work, times, strict=True)], times)
        found[name] = Figure(
            name=name, value=one.value * at_once, low=one.low * at_once, high=one.high * at_once, n=one.n,
            method=f"{one.method}, {at_once:.1f} at once",
        )  # fmt: skip
    return found


def notes_of(items: Sequence[Item]) -> tuple[str, ...]:
    """Say how many answers failed and how; raise `EngineError` where all did: that is no measurement."""
    errors = Counter(item.error for item in items if item.error)
    if items and errors.total() == len(items):
        first = errors.most_common(1)[0][0]
        raise EngineError(f"none of {len(items)} gold items got an answer ({first}): see that the model is served")
    if not errors:
        return ()
    kinds = "; ".join(f"{count}x {error}" for error, count in errors.most_common(3))
    return (f"{errors.total()} of {len(items)} answers failed and count as wrong: {kinds}",)
