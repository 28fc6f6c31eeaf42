"""Whether an answer meets a criterion. Models are asked as the run asks: through the stack, in the caller's name."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.gateway.platform.asking import Ask, Asked
from tokenworks.gateway.platform.criteria import (
    AnyCriterion,
    LabelModel,
    Message,
    ScoreModel,
    StringCheck,
    TextSimilarity,
)
from tokenworks.gateway.platform.similarity import measure_named
from tokenworks.gateway.platform.templates import render

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
LABEL_TOKENS = 64
SCORE_TOKENS = 256


class Graded(msgspec.Struct, frozen=True, kw_only=True):
    """What one criterion says of one answer."""

    name: str
    type: str
    score: float
    passed: bool
    sample: dict[str, Any] | None = None  # what the judging model was asked and said
    by: Asked | None = None


async def grade(criterion: AnyCriterion, values: Mapping[str, Any], ask: Ask) -> Graded:
    """Return the verdict; raise `DataError` for a row that lacks a value or a judge that gives none."""
    if isinstance(criterion, StringCheck):
        passed = _check(criterion.operation, render(criterion.input, values), render(criterion.reference, values))
        return Graded(name=criterion.name, type="string_check", score=float(passed), passed=passed)
    if isinstance(criterion, TextSimilarity):
        measure = measure_named(criterion.evaluation_metric)
        assert measure is not None, "checked when the eval was made"
        texts = render(criterion.input, values), render(criterion.reference, values)
        score = await asyncio.to_thread(measure, *texts)  # its library may take seconds to import
        passed = score >= criterion.pass_threshold
        return Graded(name=criterion.name, type="text_similarity", score=score, passed=passed)
    if isinstance(criterion, LabelModel):
        return await _label(criterion, values, ask)
    return await _score(criterion, values, ask)


def filled(messages: list[Message], values: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the messages with their holes filled, as a chat model takes them."""
    return [{"role": one.role, "content": render(one.text, values)} for one in messages]


def _check(operation: str, text: str, reference: str) -> bool:
    if operation in ("eq", "ne"):
        return (text == reference) is (operation == "eq")
    if operation == "like":
        return reference in text
    return reference.casefold() in text.casefold()


async def _label(criterion: LabelModel, values: Mapping[str, Any], ask: Ask) -> Graded:
    """A classifier says one of its classes; a chat model is told the labels and must answer with one of them."""
    told = f"Answer with exactly one of these labels, and nothing else: {', '.join(criterion.labels)}"
    messages = [*filled(criterion.input, values), {"role": "system", "content": told}]
    asked = await ask(criterion.model, messages, {"temperature": 0.0, "max_completion_tokens": LABEL_TOKENS})
    said = asked.text.strip().strip(".'\"")
    if said not in criterion.labels:
        raise DataError(
            f"criterion {criterion.name!r}: {criterion.model} said {said[:80]!r}, which is none of its labels"
        )
    passed = said in criterion.passing_labels
    return Graded(
        name=criterion.name, type="label_model", score=float(passed), passed=passed, sample=asked.shown(), by=asked
    )


async def _score(criterion: ScoreModel, values: Mapping[str, Any], ask: Ask) -> Graded:
    low, high = criterion.range
    told = f"Answer with a number from {low:g} to {high:g}, and nothing else."
    messages = [*filled(criterion.input, values), {"role": "system", "content": told}]
    chosen = msgspec.to_builtins(criterion.sampling_params)
    most = chosen.pop("max_completions_tokens") or SCORE_TOKENS
    sampling = {"temperature": 0.0, **{k: v for k, v in chosen.items() if v is not None}, "max_completion_tokens": most}
    asked = await ask(criterion.model, messages, sampling)
    found = _NUMBER.findall(asked.text)
    score = float(found[-1]) if found else float("nan")
    if not low <= score <= high:
        raise DataError(
            f"criterion {criterion.name!r}: {criterion.model} said {asked.text[:80]!r}, "
            f"which is no number from {low:g} to {high:g}"
        )
    passed = criterion.pass_threshold is None or score >= criterion.pass_threshold
    return Graded(name=criterion.name, type="score_model", score=score, passed=passed, sample=asked.shown(), by=asked)
