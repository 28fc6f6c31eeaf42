"""What POST /v1/fine_tuning/jobs may say, and which of it our trainers can follow. The rest is refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokenworks.gateway.errors import ApiError, bad_request

Auto = Literal["auto"]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]
MethodName = Literal["supervised", "dpo", "reinforcement"]
REWARDS = {"eq": "exact_match", "ilike": "contains"}  # string_check -> what GRPO rewards by
REFERENCE = "reference_answer"


class Hyperparameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train. What is "auto" is decided by the plan of the trainer."""

    n_epochs: Annotated[int, Meta(ge=1, le=50)] | Auto = "auto"
    learning_rate_multiplier: Annotated[float, Meta(gt=0, le=100)] | Auto = "auto"
    batch_size: Annotated[int, Meta(ge=1, le=256)] | Auto = "auto"
    beta: Annotated[float, Meta(gt=0, le=2)] | Auto = "auto"


class Trained(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A method with its hyperparameters; `grader` belongs to reinforcement."""

    hyperparameters: Hyperparameters = Hyperparameters()
    grader: dict[str, Any] | None = None


class Method(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model is tuned."""

    type: MethodName
    supervised: Trained | None = None
    dpo: Trained | None = None
    reinforcement: Trained | None = None


class CreateJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/fine_tuning/jobs."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    training_file: Annotated[str, Meta(min_length=1, max_length=64)]
    validation_file: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    suffix: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None  # how it was said before there were methods
    integrations: list[dict[str, Any]] | None = None
    metadata: Metadata | None = None


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is left to follow: the method, its hyperparameters, and the reward of a reinforcement."""

    method: MethodName
    hyperparameters: Hyperparameters
    reward: str = ""
    grader: dict[str, Any] | None = None


def wish_of(body: CreateJob, kind: str) -> Wish:
    """Return what `body` asks of a model of `kind`; raise 400 for what no trainer of ours can follow."""
    if body.integrations:
        raise bad_request("no integrations are supported here; leave them out", param="integrations")
    method = body.method or Method(type="supervised")
    for name in ("supervised", "dpo", "reinforcement"):
        if name != method.type and getattr(method, name) is not None:
            raise bad_request(f"method.type is {method.type!r}; leave method.{name} out", param=f"method.{name}")
    if body.hyperparameters is not None and body.method is not None:
        raise bad_request("hyperparameters stand in method already; leave these out", param="hyperparameters")
    told: Trained = getattr(method, method.type) or Trained(hyperparameters=body.hyperparameters or Hyperparameters())
    _follow(told.hyperparameters, method.type, kind)
    if method.type != "reinforcement" and told.grader is not None:
        raise bad_request(f"a grader is for reinforcement, not {method.type}", param=f"method.{method.type}.grader")
    reward = _reward(told.grader) if method.type == "reinforcement" else ""
    return Wish(method=method.type, hyperparameters=told.hyperparameters, reward=reward, grader=told.grader)


def _follow(told: Hyperparameters, method: str, kind: str) -> None:
    if kind == "classify" and method != "supervised":
        raise bad_request(f"a classifier is tuned by method supervised, not {method}", param="method.type")
    known = {"n_epochs", "learning_rate_multiplier"} if kind != "classify" else set()
    known |= {"beta"} if method == "dpo" else set()
    for name in told.__struct_fields__:
        value = getattr(told, name)
        if value != "auto" and name not in known:
            why = f"the {method} trainer of a {kind} model decides it by itself"
            raise bad_request(f'{name} cannot be {value}: {why}; leave it out or say "auto"', param=name)


def _reward(grader: dict[str, Any] | None) -> str:
    if grader is None:
        raise ApiError(
            400,
            "method.reinforcement.grader is missing: it says which answers are right",
            code="missing_required_parameter",
            param="method.reinforcement.grader",
        )
    wanted = {"input": "{{sample.output_text}}", "reference": "{{item." + REFERENCE + "}}"}
    said = {name: str(grader.get(name, "")).replace(" ", "") for name in wanted}
    if grader.get("type") != "string_check" or grader.get("operation") not in REWARDS or said != wanted:
        raise bad_request(
            f"only a string_check (operation eq or ilike) of {wanted['input']} against {wanted['reference']} "
            "can be a reward here",
            param="method.reinforcement.grader",
        )
    return REWARDS[str(grader["operation"])]
