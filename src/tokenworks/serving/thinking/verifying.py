"""What judges answers: whatever it is, it may be wrong, slow or broken, and the answer is given all the same."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import structlog

from tokenworks.core.errors import DataError
from tokenworks.serving.thinking.patterns import Pattern

TIMEOUT_S = 5.0
_SCORE = re.compile(r"(?<![\d.])(10(?:\.0+)?|\d(?:\.\d+)?)(?![\d.])")
_OF_TEN = re.compile(r"\s*(?:/|out of)\s*10\b")
_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
log = structlog.get_logger()


class Said(NamedTuple):
    """What a judging model said, and how many tokens it took to say it."""

    text: str
    tokens: int


class Judgement(Protocol):
    """What looks at a text."""

    def __call__(self, text: str) -> Awaitable[float]:
        """Return 0, wrong, to 1, right."""
        ...


@dataclass(frozen=True)
class Verifier:
    """A judgement that is not trusted to end, or to say anything sensible."""

    name: str
    judge: Judgement
    timeout_s: float = TIMEOUT_S
    certain: bool = True  # whether a 1 is the last word; a model's opinion is not

    async def score(self, text: str, *, within_s: float = math.inf) -> float | None:
        """Return 0 to 1; None where the judgement failed, took longer than its time or `within_s`, or is no number."""
        patience_s = max(0.0, min(self.timeout_s, within_s))
        try:
            async with asyncio.timeout(patience_s):
                score = await self.judge(text)
        except TimeoutError:
            log.warning("verifier took too long", verifier=self.name, timeout_s=patience_s)
            return None
        except DataError as error:
            log.warning("verifier said nothing", verifier=self.name, because=str(error))
            return None
        except Exception:  # a border: verifiers are strangers' code
            log.warning("verifier failed", verifier=self.name, exc_info=True)
            return None
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            log.warning("verifier said nonsense", verifier=self.name, said=str(score)[:80])
            return None
        return float(score) if 0.0 <= score <= 1.0 else None


def matching(pattern: str) -> Verifier:
    """Return what wants a match of a regular expression somewhere in the answer. Raises `DataError`."""
    compiled = Pattern(pattern)

    async def judge(text: str) -> float:
        return float(await asyncio.to_thread(compiled.found_in, text))

    return Verifier("regex", judge)


def following(schema: dict[str, Any]) -> Verifier:
    """Return what wants JSON that follows `schema`. Raises `DataError` for a schema that is none.

    Nothing is fetched for a `$ref`, and `pattern` is bounded in time.
    """
    valid = _validator(schema)

    def look(text: str) -> float:
        try:
            return float(valid(json.loads(text)))
        except ValueError:
            return 0.0

    async def judge(text: str) -> float:
        return await asyncio.to_thread(look, text)

    return Verifier("json_schema", judge)


def _validator(schema: dict[str, Any]) -> Callable[[Any], bool]:
    from jsonschema import Draft202012Validator, validators  # type: ignore[import-untyped]  # a second of a start
    from jsonschema.exceptions import SchemaError, ValidationError  # type: ignore[import-untyped]
    from referencing import Registry

    if "patternProperties" in json.dumps(schema):
        raise DataError("patternProperties cannot be checked in bounded time; name the properties")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise DataError(f"it is not a JSON Schema: {error.message}") from None

    def pattern(validator: Any, wanted: str, instance: Any, _: Any) -> Any:
        if isinstance(instance, str) and not Pattern(wanted).found_in(instance):
            yield ValidationError(f"does not match {wanted!r}")

    bounded = validators.extend(Draft202012Validator, {"pattern": pattern})
    checking = bounded(schema, registry=Registry())

    def valid(value: Any) -> bool:
        return bool(checking.is_valid(value))

    return valid


def verdict_in(text: str) -> float:
    """Return what a judging model said: a number from 0 to 10 as a share of 10, or yes and no. Raises `DataError`."""
    last = _OF_TEN.sub("", text.strip().rpartition("\n")[2])
    if found := _SCORE.findall(last):
        return float(found[-1]) / 10
    if words := _YES_NO.findall(last):
        return float(words[-1].lower() == "yes")
    raise DataError(f"the judge said neither a number from 0 to 10 nor yes or no: {last[:80]!r}")
