"""Self-consistency (Wang et al. 2022, arXiv 2203.11171): what most samples say, until more would not change it."""

from __future__ import annotations

from tokenworks.serving.thinking.contract import Outcome, Plan
from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.voting import Poll, vote


class Strategy:
    """One sample, one vote."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    async def think(self, desk: Desk) -> Outcome:
        """Return the answer with the most votes."""
        return await vote(desk, Poll(), self._plan)
