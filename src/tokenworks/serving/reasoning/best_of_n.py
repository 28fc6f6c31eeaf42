"""Best of n by a verifier: the first answer that is certainly right, else the one that scored highest."""

from __future__ import annotations

from tokenworks.core.errors import ConfigError
from tokenworks.serving.thinking.contract import Outcome, Plan, Sample
from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.voting import Poll

ROUND = 2  # samples drawn side by side: more would often be one too many


class Strategy:
    """Draw until the verifier is satisfied."""

    def __init__(self, plan: Plan) -> None:
        if plan.verifier is None:
            raise ConfigError("best-of-n needs a verifier: a regex, a json_schema or a judge")
        self._plan, self._verifier = plan, plan.verifier

    async def think(self, desk: Desk) -> Outcome:
        """Return the best answer. A verifier that fails on a sample leaves it unjudged: it is taken only at last."""
        judged: list[tuple[float, Sample]] = []
        poll, silent, stopped = Poll(), 0, ""
        while not stopped:
            left = self._plan.samples - len(desk.samples) - desk.failed
            for sample in await desk.draw(min(ROUND if judged or silent else 1, left)):
                poll.add(sample, await desk.answer_of(sample))
                score = await self._verifier.score(sample.text, within_s=desk.seconds_left)
                if score is None:
                    silent += 1
                else:
                    judged.append((score, sample))
            stopped = self._over(desk, judged, silent)
        notes = (f"the verifier said nothing of {silent} of {len(desk.samples)} samples",) if silent else ()
        if judged:
            score, best = max(judged, key=lambda one: one[0])  # of equals the first
            return Outcome(chosen=best, answer=await desk.answer_of(best), score=score, stopped=stopped, notes=notes)
        best = poll.chosen()[0] if poll.voters else desk.samples[0]
        return Outcome(chosen=best, answer=await desk.answer_of(best), stopped=stopped, notes=notes)

    def _over(self, desk: Desk, judged: list[tuple[float, Sample]], silent: int) -> str:
        if self._verifier.certain and any(score >= 1.0 for score, _ in judged):
            return "verified"
        if silent >= 3 and not judged:
            return "verifier-failed"
        if len(desk.samples) + desk.failed >= self._plan.samples:
            return "samples"
        return desk.stopped
