"""How long a trial will take, said before it begins."""

from __future__ import annotations

import math

import msgspec

from tokenworks.flywheel.trial.bets import PLANNED
from tokenworks.flywheel.trial.terms import Terms


class TrialPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to show that an equal candidate is not worse."""

    units: int  # of the candidate's arm: users, or requests without one, with a verdict
    units_per_day: float
    days: float | None  # None: at this rate never
    longest_days: float
    margin: float
    share: float

    @property
    def decides(self) -> bool:
        """Whether the trial can be expected to decide in its time."""
        return self.days is not None and self.days <= self.longest_days

    def story(self) -> list[str]:
        """Return the plan as a line."""
        need = f"{self.units:,} judged units of the candidate show a margin of {self.margin:.3g}"
        if self.days is None:
            return [f"{need}; no verdicts are expected, so the trial will end undecided"]
        rate = f"{self.units_per_day:,.0f} a day come at a share of {self.share:.0%}"
        end = "" if self.decides else f", but it ends after {self.longest_days:.3g}: raise the share or the margin"
        return [f"{need}; {rate}: about {self.days:.2g} days{end}"]


def plan_trial(
    terms: Terms,
    *,
    requests_per_day: float,
    feedback_share: float,
    accuracy: float = 0.9,
    users_per_day: float = 0.0,
) -> TrialPlan:
    """Return the plan of a trial of a candidate as good as the incumbent, whose share of successes is `accuracy`.

    A bet on a margin m grows by m^2 / (2 v) in a block of one unit against k, v = accuracy (1 - accuracy) (1 + 1/k),
    and has to grow by ln(1 / alpha), the share of the capital that was not staked on it aside (Kelly 1956).
    With users, each new one is a unit, and few of the `users_per_day` are new after the first days.
    """
    against = max(1.0, (1.0 - terms.share) / terms.share) if terms.share < 1 else 1.0
    spread = max(accuracy * (1.0 - accuracy), 0.01) * (1.0 + 1.0 / against)
    growth = terms.margin**2 / (2.0 * spread)
    units = math.ceil(math.log(1.0 / (PLANNED * terms.alpha)) / growth)
    judged = requests_per_day * feedback_share
    if users_per_day > 0:
        each = requests_per_day / users_per_day
        judged = users_per_day * (1.0 - (1.0 - feedback_share) ** each)
    per_day = judged * terms.share
    return TrialPlan(
        units=units,
        units_per_day=per_day,
        days=units / per_day if per_day > 0 else None,
        longest_days=terms.longest_s / 86_400,
        margin=terms.margin,
        share=terms.share,
    )
