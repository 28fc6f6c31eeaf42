"""A model that judges samples, asked in the caller's name and out of the same purse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenworks.gateway.errors import bad_request
from tokenworks.gateway.openai.fields import Reasoning, Verification
from tokenworks.gateway.thinking.asking import Asking
from tokenworks.gateway.thinking.wish import Wanted
from tokenworks.serving.thinking.desk import CONTINUED_TOKENS, Desk
from tokenworks.serving.thinking.verifying import Said, Verifier, verdict_in

JUDGE_TOKENS = 128
TIMEOUT_S = 60.0
QUESTION = "How good is this answer to what was asked? Say a number from 0 (wrong) to 10 (right) on the last line."


def judging(asked: Reasoning, wanted: Wanted, asking: Asking, desk: Desk, model: str) -> Verifier:
    """Return the judge; raise 400 where it would spend what the budget cannot bound."""
    assert asked.verifier is not None, "asked for"
    judge, spend = asked.verifier.model or model, asked.budget
    if judge != model and (spend.money is not None or spend.joules is not None):
        raise bad_request(
            f"{judge!r} has prices of its own, so that money and joules cannot bound it; bound tokens, or let "
            f"{model!r} judge",
            param="reasoning.verifier.model",
        )
    before = asked_text(wanted.prompt, wanted.messages)

    async def look(text: str) -> float:
        question = question_about(before, text, asked.verifier)
        said: list[Said] = []

        async def work() -> int:
            said.append(await asking.judge(judge, question, JUDGE_TOKENS))
            return said[0].tokens

        await desk.aside(len(question.encode()) + CONTINUED_TOKENS, JUDGE_TOKENS, work)
        return verdict_in(said[0].text)

    return Verifier("judge", look, timeout_s=TIMEOUT_S, certain=False)


def question_about(before: str, text: str, asked: Verification | None) -> str:
    """Return what a judge is asked about the answer `text` to what was asked before."""
    return f"{before}\n\nAnswer:\n{text}\n\n{(asked.question if asked else '') or QUESTION}"


def asked_text(prompt: Any, messages: Sequence[dict[str, Any]]) -> str:
    """Return what the sample answers, as a judge reads it."""
    if prompt is not None:
        return str(prompt)
    return "\n".join(f"{one.get('role')}: {one.get('content')}" for one in messages)
