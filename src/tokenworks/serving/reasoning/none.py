"""One sample: where more does not pay."""

from __future__ import annotations

from tokenworks.serving.thinking.contract import Outcome, Plan
from tokenworks.serving.thinking.desk import Desk


class Strategy:
    """Ask once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    async def think(self, desk: Desk) -> Outcome:
        """Return the only sample."""
        (sample,) = await desk.draw()
        return Outcome(chosen=sample, answer=await desk.answer_of(sample), stopped="one-is-enough")
