"""What ways of thinking came to, as figures: accuracy, what an answer takes, and paired intervals. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from tokenworks.line.evaluate.intervals import proportion
from tokenworks.line.evaluate.paired import Paired, items_needed, paired_gain
from tokenworks.serving.thinking.measured import PLAIN, Point

ALPHA = 0.025  # of each side: intervals are of 95 %
MARGIN = 0.005  # of the share of right answers: what stopping early may lose
MOST_UNMETERED = 0.1  # of the answers; with more there is no mean of joules


class Row(msgspec.Struct, frozen=True):
    """What one answer came to and took; `joules` None: not metered."""

    right: float
    tokens: int
    samples: int
    joules: float | None = None
    cost: float | None = None  # in the price list's unit


Rows = Sequence[Sequence[Row]]  # of one way: by question, by order of its samples


class Early(msgspec.Struct, frozen=True, kw_only=True):
    """Stopping early beside voting over all samples, on the same questions and draws."""

    difference: float  # of the shares of right answers
    low: float
    high: float
    tokens_share: float
    questions: int
    orders: int  # of each question's samples, of which it is the mean
    once: tuple[float, float, float]  # the difference and its interval in the order drawn alone
    needed: int | None  # questions with which the interval would lie within the margin; None: there are none
    margin: float = MARGIN

    @property
    def shown(self) -> bool:
        """Whether the interval lies within the margin."""
        return -self.margin < self.low and self.high < self.margin


def early_of(early: Rows, fixed: Rows, margin: float = MARGIN) -> Early:
    """Return what stopping early lost and saved.

    Samples of a question are exchangeable, so that the mean over orders of one set of them is as true as one order is,
    and rests on less chance (Rao-Blackwell); questions stay the unit of the interval.
    """
    pair, once = paired(early, fixed), paired([row[:1] for row in early], [row[:1] for row in fixed])
    room = margin - abs(pair.difference)
    return Early(
        difference=pair.difference,
        low=pair.low,
        high=pair.high,
        tokens_share=_mean(early, "tokens") / max(1.0, _mean(fixed, "tokens")),
        questions=len(early),
        orders=len(early[0]),
        once=(once.difference, once.low, once.high),
        needed=items_needed(room, pair.spread, alpha=ALPHA, power=0.5) if room > 0 else None,
        margin=margin,
    )


def paired(rows: Rows, other: Rows) -> Paired:
    """Return how much more often `rows` are right, question by question, in those orders that both were tried in."""
    gain = [
        sum(a.right - b.right for a, b in zip(one, two, strict=False)) / min(len(one), len(two))
        for one, two in zip(rows, other, strict=True)
    ]
    return paired_gain(np.array(gain), np.ones(len(gain)), np.arange(len(gain)), alpha=ALPHA)


def point(name: str, most: int, rows: Rows, plain: Rows, *, verifier: str, eligible: bool) -> Point:
    """Return a way's place on the curve; `plain` are the rows of one sample."""
    share = proportion("right", len(rows) * _mean(rows, "right"), len(rows))
    gain = paired(rows, plain)
    return Point(
        strategy=name,
        verifier=verifier,
        most=most,
        samples=_mean(rows, "samples"),
        accuracy=share.value,
        low=share.low,
        high=share.high,
        tokens=_mean(rows, "tokens"),
        joules=_mean_where_known(rows, "joules"),
        cost=_mean_where_known(rows, "cost"),
        gain=gain.difference,
        gain_low=gain.low,
        gain_high=gain.high,
        eligible=eligible,
    )


def comparable(points: Sequence[Point]) -> list[Point]:
    """Return the points with those figures alone that all of them have."""
    lacking = {field: None for field in ("joules", "cost") if any(getattr(one, field) is None for one in points)}
    return [msgspec.structs.replace(one, **lacking) for one in points]


def _mean(rows: Rows, field: str) -> float:
    return float(np.mean([np.mean([getattr(one, field) for one in row]) for row in rows]))


def _mean_where_known(rows: Rows, field: str) -> float | None:
    told = [getattr(one, field) for row in rows for one in row]
    known = [one for one in told if one is not None]
    return sum(known) / len(known) if len(known) >= (1 - MOST_UNMETERED) * len(told) else None


def curve_lines(points: Sequence[Point]) -> list[str]:
    """Return the curve as a table; points are gained against one sample, each figure is of one answer."""
    units = [
        (title, field)
        for title, field in (("tokens", "tokens"), ("joules", "joules"), ("cost", "cost"))
        if all(getattr(one, field) is not None for one in points)
    ]
    head = f"{'way':<24}{'at most':>8}{'samples':>9}{'right':>8}  {'95 %':<16}{'against one':<29}"
    lines = [head + "".join(f"{title:>11}{'/right':>11}" for title, _ in units)]
    for one in points:
        gain = f"{100 * one.gain:+.2f} [{100 * one.gain_low:+.2f}, {100 * one.gain_high:+.2f}]"
        gain = "" if one.strategy == PLAIN else gain
        spent = [getattr(one, field) for _, field in units]
        lines.append(
            f"{one.strategy + (' ' + one.verifier if one.verifier else ''):<24}{one.most:>8}{one.samples:>9.2f}"
            f"{one.accuracy:>8.3f}  [{one.low:.3f}, {one.high:.3f}]{'':<2}{gain:<29}"
            + "".join(_figure(value) + _figure(value / one.accuracy if one.accuracy else None) for value in spent)
        )
    return lines


def early_lines(found: Early) -> list[str]:
    """Return what stopping early lost and saved, and whether that is shown to be within the margin."""
    drawn = found.once
    verdict = "within" if found.shown else "not shown to be within"
    more = f"; {found.needed} questions would show it" if not found.shown and found.needed else ""
    return [
        f"stopping early beside voting over all: {100 * found.difference:+.2f} points "
        f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}] for {100 * found.tokens_share:.0f} % of the tokens: "
        f"{verdict} {100 * found.margin:g} points{more}",
        f"  {found.questions} questions, the mean over {found.orders} orders of each one's samples; in the order drawn "
        f"{100 * drawn[0]:+.2f} [{100 * drawn[1]:+.2f}, {100 * drawn[2]:+.2f}]",
    ]


def _figure(value: float | None) -> str:
    if value is None:
        return f"{'-':>11}"
    return f"{value:>11.1f}" if value >= 10 else f"{value:>11.4g}"
