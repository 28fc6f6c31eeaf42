"""Votes weighted by how sure the model was: CGES (arXiv 2511.02603) and DeepConf (arXiv 2508.15260), from logprobs."""

from __future__ import annotations

import msgspec

from tokenworks.serving.thinking.contract import Draw, Outcome, Plan
from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.voting import Poll, confidence, vote


class Strategy:
    """A sample's vote is the geometric mean probability of its tokens; all count alike where the engine tells none."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    async def think(self, desk: Desk) -> Outcome:
        """Return the answer with the heaviest votes."""
        outcome = await vote(desk, Poll(confidence), self._plan, draw=Draw(logprobs=True))
        if any(sample.logprobs for sample in desk.samples):
            return outcome
        return msgspec.structs.replace(
            outcome, notes=(*outcome.notes, "the engine tells no probabilities: every vote counted alike")
        )
