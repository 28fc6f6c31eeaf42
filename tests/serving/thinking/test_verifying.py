"""Verifiers that work, and those that raise, hang or say nonsense."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tokenworks.core.errors import DataError
from tokenworks.serving.thinking.verifying import Verifier, following, matching, verdict_in

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def test_a_pattern_is_looked_for() -> None:
    assert await matching(r"\d{3}").score("it is 123") == 1.0
    assert await matching(r"\d{3}").score("it is 12") == 0.0


async def test_a_schema_is_followed_or_not() -> None:
    verifier = following(SCHEMA)
    assert [await verifier.score(text) for text in ('{"n": 1}', '{"n": "1"}', "no json")] == [1.0, 0.0, 0.0]


async def test_a_schema_fetches_nothing() -> None:
    assert await following({"$ref": "http://127.0.0.1:9/schema.json"}).score("{}") is None


async def test_a_slow_pattern_in_a_schema_is_no_verdict() -> None:
    schema = {"type": "string", "pattern": r"(a|aa)+$"}
    assert await following(schema).score('"' + "a" * 80 + '!"') is None


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"patternProperties": {"a+": {}}}])
def test_what_is_no_schema_or_cannot_be_bounded_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        following(schema)


async def raises(text: str) -> float:
    raise RuntimeError("broken")


async def hangs(text: str) -> float:
    await asyncio.sleep(60)
    return 1.0


@pytest.mark.parametrize("judge", [raises, hangs])
async def test_a_verifier_that_raises_or_hangs_says_nothing(judge: Any) -> None:
    assert await Verifier("bad", judge, timeout_s=0.05).score("x") is None


@pytest.mark.parametrize("said", [float("nan"), float("inf"), -0.1, 1.1, "1", None, True])
async def test_nonsense_is_no_verdict(said: Any) -> None:
    async def judge(text: str) -> Any:
        return said

    assert await Verifier("odd", judge).score("x") is None


@pytest.mark.parametrize(
    ("said", "score"),
    [("8", 0.8), ("well\n10", 1.0), ("Yes.", 1.0), ("no", 0.0), ("7.5/10", 0.75), ("8 out of 10", 0.8)],
)
def test_a_judge_is_understood_by_its_last_line(said: str, score: float) -> None:
    assert verdict_in(said) == score


@pytest.mark.parametrize("said", ["", "marvellous", "2026", "-"])
def test_a_judge_who_says_nothing_of_use_is_not(said: str) -> None:
    with pytest.raises(DataError, match="neither a number"):
        verdict_in(said)
