"""What testing criteria may say: checked when an eval is made, so that a run finds nothing that cannot be meant."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokenworks.gateway.errors import ApiError, bad_request
from tokenworks.gateway.openai.bodies import explain
from tokenworks.gateway.platform.similarity import MEASURES, measure_named
from tokenworks.gateway.platform.templates import check_template

Name = Annotated[str, Meta(min_length=1, max_length=128)]
REFUSED = {
    "python": "code of callers is not run here; use string_check, text_similarity, label_model or score_model",
    "multi": "criteria cannot be combined here; list them one by one",
}


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A piece of a message."""

    type: Literal["input_text", "text", "output_text"]
    text: str


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message with holes to fill."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Part
    type: Literal["message"] = "message"

    @property
    def text(self) -> str:
        """What it says."""
        return self.content if isinstance(self.content, str) else self.content.text


class Criterion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What a right answer is."""

    name: Name


class StringCheck(Criterion, frozen=True, kw_only=True, tag="string_check"):
    """One text against another: equal, different, or the reference inside the input (ilike: in any case)."""

    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(Criterion, frozen=True, kw_only=True, tag="text_similarity"):
    """How alike two texts are."""

    input: str
    reference: str
    evaluation_metric: str
    pass_threshold: float


class LabelModel(Criterion, frozen=True, kw_only=True, tag="label_model"):
    """What a model calls the answer."""

    model: Name
    input: Annotated[list[Message], Meta(min_length=1, max_length=64)]
    labels: Annotated[list[Name], Meta(min_length=1, max_length=256)]
    passing_labels: Annotated[list[Name], Meta(min_length=1, max_length=256)]


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a judge is asked."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: int | None = None
    max_completions_tokens: Annotated[int, Meta(ge=1)] | None = None


class ScoreModel(Criterion, frozen=True, kw_only=True, tag="score_model"):
    """What number a model gives the answer."""

    model: Name
    input: Annotated[list[Message], Meta(min_length=1, max_length=64)]
    range: tuple[float, float] = (0.0, 1.0)
    pass_threshold: float | None = None
    sampling_params: Sampling = Sampling()


AnyCriterion = StringCheck | TextSimilarity | LabelModel | ScoreModel
_BY_TYPE: dict[str, type[Criterion]] = {
    "string_check": StringCheck,
    "text_similarity": TextSimilarity,
    "label_model": LabelModel,
    "score_model": ScoreModel,
}


def read_criteria(given: list[dict[str, Any]]) -> list[AnyCriterion]:
    """Return the criteria; raise the 400 that names the first wrong one."""
    found = [_read(one, f"testing_criteria[{place}]") for place, one in enumerate(given)]
    names = [one.name for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise bad_request(f"two criteria are called {twice!r}; results are told by name", param="testing_criteria")
    return found


def _read(given: dict[str, Any], where: str) -> AnyCriterion:
    kind = str(given.get("type"))
    if kind in REFUSED:
        raise ApiError(
            400, f"{where}: {kind} criteria are refused: {REFUSED[kind]}", code="unsupported_grader", param=where
        )
    if kind not in _BY_TYPE:
        raise bad_request(
            f"{where}.type is {kind[:40]!r}; it must be one of {', '.join(_BY_TYPE)}", param=f"{where}.type"
        )
    try:
        found: AnyCriterion = msgspec.convert(given, _BY_TYPE[kind])  # type: ignore[assignment]
    except msgspec.ValidationError as error:
        said = explain(error, _BY_TYPE[kind])
        raise bad_request(f"{where}: {said.message}", param=where, code=said.code) from None
    _check(found, where)
    return found


def _check(found: AnyCriterion, where: str) -> None:
    if isinstance(found, StringCheck | TextSimilarity):
        for name in ("input", "reference"):
            check_template(getattr(found, name), param=f"{where}.{name}", sample=True)
    else:
        for message in found.input:
            check_template(message.text, param=f"{where}.input", sample=True)
    if isinstance(found, TextSimilarity) and measure_named(found.evaluation_metric) is None:
        raise bad_request(
            f"{where}: {found.evaluation_metric[:40]!r} is not computed here; there are {', '.join(MEASURES)}",
            param=f"{where}.evaluation_metric",
        )
    if isinstance(found, LabelModel) and not set(found.passing_labels) <= set(found.labels):
        raise bad_request(f"{where}: passing_labels must be among labels", param=f"{where}.passing_labels")
    if isinstance(found, ScoreModel) and not found.range[0] < found.range[1]:
        raise bad_request(f"{where}: range must rise from low to high", param=f"{where}.range")
