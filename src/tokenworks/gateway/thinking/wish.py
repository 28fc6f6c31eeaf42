"""What a caller's fields ask for, checked and made into a plan; what cannot be meant is a 400 that names its field."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.gateway.errors import ApiError, bad_request
from tokenworks.gateway.openai.fields import Reasoning, Verification
from tokenworks.serving.thinking.answers import Read, reader
from tokenworks.serving.thinking.budget import Budget
from tokenworks.serving.thinking.contract import BudgetError
from tokenworks.serving.thinking.verifying import Verifier, following, matching

EFFORTS = {"minimal": 1, "low": 4, "medium": 8, "high": 16, "xhigh": 32, "max": 64}  # samples at most
USUAL = "medium"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a request that samples differ in, or that bound them."""

    n: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    logprobs: Any = None
    response_format: Any = None
    prompt: Any = None
    messages: list[dict[str, Any]] = []
    tools: Any = None


def read_wanted(body: bytes) -> Wanted:
    """Return them; raise 400 for what cannot be thought about."""
    wanted = msgspec.json.decode(body, type=Wanted)
    if wanted.n not in (None, 1):
        message = f"n is {wanted.n}: an answer that is thought about is one; leave n out, or reasoning"
        raise bad_request(message, param="n")
    if wanted.tools:
        raise bad_request("calls of tools are not voted on; leave tools out, or reasoning", param="tools")
    if isinstance(wanted.prompt, list):
        raise bad_request("several prompts or token ids are not thought about; send one text", param="prompt")
    return wanted


def samples_of(asked: Reasoning) -> int:
    """Return how many samples may be drawn at most; raise 400 for an effort that nobody knows."""
    effort = asked.effort or USUAL
    if effort not in EFFORTS:
        raise bad_request(
            f"reasoning_effort {effort!r} is not known; there are: none, {', '.join(EFFORTS)}", param="reasoning_effort"
        )
    if asked.budget.samples is not None and asked.effort is None:
        return asked.budget.samples
    most = EFFORTS[effort] if asked.effort is not None or asked.budget == type(asked.budget)() else EFFORTS["max"]
    return most if asked.budget.samples is None else min(most, asked.budget.samples)


def budget_of(asked: Reasoning, wanted: Wanted) -> Budget:
    """Return what may be spent; `max_completion_tokens` bounds all tokens made, as OpenAI documents it."""
    spend = asked.budget
    tokens = [bound for bound in (spend.tokens, wanted.max_completion_tokens) if bound is not None]
    budget = Budget(
        samples=spend.samples,
        tokens=min(tokens) if tokens else None,
        seconds=spend.seconds,
        joules=spend.joules,
        money=spend.money,
    )
    try:
        budget.check()
    except BudgetError as error:
        raise wrong_budget(error) from None
    return budget


def wrong_budget(error: BudgetError) -> ApiError:
    """Return the 400 for a budget that cannot be meant, or buys nothing."""
    return bad_request(str(error), param=f"reasoning.budget.{error.field}", code="invalid_budget")


def read_by(asked: Reasoning) -> Read:
    """Return how answers are read; raise 400 for a pattern that is none."""
    try:
        return reader(asked.answer)
    except DataError as error:
        raise bad_request(str(error), param="reasoning.answer") from None


def verifier_of(asked: Verification, wanted: Wanted) -> Verifier:
    """Return the verifier that needs no model; raise 400 for one that cannot be made."""
    try:
        if asked.type == "regex":
            if not asked.pattern:
                raise DataError("a regex verifier needs a pattern")
            return matching(asked.pattern)
        return following(_schema(asked, wanted))
    except DataError as error:
        raise bad_request(str(error), param="reasoning.verifier") from None


def _schema(asked: Verification, wanted: Wanted) -> dict[str, Any]:
    form = wanted.response_format if isinstance(wanted.response_format, dict) else {}
    schema = asked.schema
    if schema is None:
        schema = (form.get("json_schema") or {}).get("schema")
    if not isinstance(schema, dict):
        raise DataError("a json_schema verifier needs a schema, its own or that of response_format")
    return schema
