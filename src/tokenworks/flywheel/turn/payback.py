"""Did the turn pay? What it cost in machine time, and what it gives back each day at the traffic that was seen.

Engine-seconds are the unit until money is metered; a wrong answer is priced in seconds of the person who corrects it.
"""

from __future__ import annotations

import math

import msgspec

DAY_S = 86_400.0


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What the incumbent answered before the turn."""

    answers: int
    span_s: float  # from the first to the last of them

    @property
    def per_day(self) -> float:
        """Answers a day at the rate seen; over less than an hour no rate is drawn from it, the count is the day's."""
        return self.answers * DAY_S / self.span_s if self.span_s >= 3600 else float(self.answers)


class Payback(msgspec.Struct, frozen=True, kw_only=True):
    """Cost and return of a turn."""

    cost_s: float  # machine-seconds: training, judging, teaching
    answers_per_day: float
    right_more_per_day: float  # right answers more than before, by the gate's paired difference
    engine_saved_s_per_day: float  # negative where the new model is slower
    person_saved_s_per_day: float
    correction_s: float  # the assumption behind it: what one wrong answer takes of a person
    days: float | None  # to break even; None: at this rate it never does

    def story(self, gives: str = "gives") -> list[str]:
        """Return the payback in lines; `gives` is the verb: a candidate that was refused only would give."""
        gain = (
            f"  {gives:<9} {self.right_more_per_day:+.1f} right answers a day of {self.answers_per_day:.0f}"
            f" ({self.person_saved_s_per_day:+.0f} s of people at {self.correction_s:g} s a wrong answer),"
            f" {self.engine_saved_s_per_day:+.1f} engine-seconds a day"
        )
        if self.days is None:
            return [f"  cost      {self.cost_s:.0f} machine-seconds", gain, "  pays back never at this rate"]
        return [f"  cost      {self.cost_s:.0f} machine-seconds", gain, f"  pays back in {self.days:.2f} days"]


def payback(*, cost_s: float, traffic: Traffic, gain: float, latency_saved_s: float, correction_s: float) -> Payback:
    """Return what a turn gives back.

    `gain` is the difference of the share of right answers, new minus old; `latency_saved_s` the engine-seconds of an
    answer, old minus new. days = cost / (answers a day * (gain * correction_s + latency_saved_s)).
    """
    people = traffic.per_day * gain * correction_s
    engines = traffic.per_day * latency_saved_s
    total = people + engines
    days = cost_s / total if total > 0 else math.inf
    return Payback(
        cost_s=cost_s,
        answers_per_day=traffic.per_day,
        right_more_per_day=traffic.per_day * gain,
        engine_saved_s_per_day=engines,
        person_saved_s_per_day=people,
        correction_s=correction_s,
        days=days if math.isfinite(days) else None,
    )
