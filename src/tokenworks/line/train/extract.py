"""Extract: teach a small generative model to answer a text with JSON of one schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tokenworks.core.errors import ConfigError, DataError, MissingExtraError
from tokenworks.core.ids import canonical_json
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.train import tune
from tokenworks.line.train._conversations import Conversation, Message

VERSION = "1"


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """How to tune (see `tune.Params`), and the JSON Schema of every answer."""

    schema: dict[str, Any]
    method: Literal["auto", "full", "lora"] = "auto"
    budget: str = "3m"
    seed: int = 0
    rank: int = 16
    learning_rate: float = 0.0
    epochs: float = 5.0
    max_length: int = 1024
    batch_tokens: int = 4096
    replay: float = 0.2
    base: str = ""
    description: str = ""

    @property
    def tuning(self) -> tune.Params:
        """Return the part that tuning knows."""
        return msgspec.convert({name: getattr(self, name) for name in tune.Params.__struct_fields__}, tune.Params)


def lesson(schema: dict[str, Any]) -> tune.Lesson:
    """Return how to teach `schema`: each answer checked against it and rewritten in canonical form.

    Keys are sorted in answers and in the schema that the card carries: constrained decoding emits properties in the
    schema's order, and so the model is asked for the very order that it has learnt. Raises `ConfigError` where
    `schema` is no JSON Schema.
    """
    try:
        from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]  # of the extra
    except ImportError:
        raise MissingExtraError("checking answers against a JSON Schema", "train") from None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ConfigError(f"the answer's schema is no JSON Schema: {error.json_path}: {error.message}") from None
    validator = Draft202012Validator(schema)

    def check(conversation: Conversation) -> Conversation:
        return tuple(_canonical(message, validator) if message.trained else message for message in conversation)

    card = {"schema": msgspec.json.decode(canonical_json(schema))}
    return tune.Lesson(kind="extract", too_long="skip", check=check, card=card)


def _canonical(message: Message, validator: Any) -> Message:
    try:
        value = msgspec.json.decode(message.content)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise DataError(f"the answer is not JSON: {error}; write the answer as one JSON value") from None
    wrong = next(iter(sorted(validator.iter_errors(value), key=lambda error: error.json_path)), None)
    if wrong is not None:
        raise DataError(f"the answer breaks the schema at {wrong.json_path}: {wrong.message}; mend it or the schema")
    return msgspec.structs.replace(message, content=canonical_json(value).decode())


def _plan(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    return tune.plan_tuning(inputs, params.tuning, bench, lesson(params.schema))


def _train(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    return tune.tune(inputs, params.tuning, bench, lesson(params.schema))


PLAN = Stage(name="train.extract.plan", version=VERSION, run=_plan)
TRAIN = Stage(name="train.extract", version=VERSION, run=_train)
