"""Budget forcing (s1, arXiv 2501.19393): think again after a cue, and be made to answer when the room is used up."""

from __future__ import annotations

from tokenworks.serving.thinking.contract import Draw, Outcome, Plan, Sample
from tokenworks.serving.thinking.desk import Desk

ANSWER = "\nFinal answer:"
ANSWER_TOKENS = 64


class Strategy:
    """One line of thought, lengthened by `plan.cue`; a thought that was cut off is followed by a demand to answer.

    s1 puts the cue into the model's own text. A completion goes on from there; a chat, for which most engines have no
    such thing, is given its own words as its last turn and the cue as the next.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    async def think(self, desk: Desk) -> Outcome:
        """Return the last answer; stop as soon as thinking again confirms it."""
        (sample,) = await desk.draw()
        thought, answers, stopped = sample.text, [await desk.answer_of(sample)], ""
        for _ in range(min(self._plan.rounds, self._plan.samples - 1)):
            cut = not sample.whole
            cue = ANSWER if cut else f"\n{self._plan.cue}"
            again = await desk.draw(1, Draw(after=thought, cue=cue, most_tokens=ANSWER_TOKENS if cut else None))
            if not again:
                stopped = desk.stopped
                break
            sample = again[0]
            thought += cue + sample.text
            answers.append(await desk.answer_of(sample))
            if cut and sample.whole:
                stopped = "forced"
                break
            if answers[-1] and answers[-1] == answers[-2]:
                stopped = "confirmed"
                break
        return self._outcome(desk, sample, answers, thought, stopped)

    def _outcome(self, desk: Desk, last: Sample, answers: list[str], thought: str, stopped: str) -> Outcome:
        """Answer with the last sample that came to an end; the text is the whole thought."""
        stopped = stopped or desk.stopped or "rounds"
        answer = next((one for one in reversed(answers) if one), "")
        return Outcome(chosen=last, answer=answer, stopped=stopped, text=thought if len(answers) > 1 else None)
