"""A replay over recorded samples comes to what the live way came to, and asks live only for what no sample says."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import DataError
from tokenworks.core.request import Request
from tokenworks.factory.making import Making
from tokenworks.factory.replaying import FIXED, Recorded, Way
from tokenworks.factory.sampling import Question, asking, draw_all
from tokenworks.gateway.openai.fields import Reasoning, Verification
from tokenworks.serving.thinking.answers import reader
from tokenworks.serving.thinking.contract import Sample
from tokenworks.settings import Settings

VOWEL = r"([aeiou])"  # few answers, so that votes on the words of a random model agree now and then
PROMPTS = ("the quick", "a list is", "def ", "return the")
LIVE = {
    "none": {},
    "self-consistency": {},
    "confidence": {},
    "adaptive": {},
    "budget-forcing": {"cue": "Again", "rounds": 2},
    "best-of-n": {"verifier": {"type": "regex", "pattern": r"[^\W_]{6}.*\n"}},
}


def questions(reasoning: dict[str, Any]) -> list[Question]:
    asked = msgspec.convert(reasoning, Reasoning)
    return [
        Question(
            body={"prompt": prompt, "max_tokens": 60, "stop": ["e"], "seed": 100 * number},
            expected="a",
            asked=asked,
        )
        for number, prompt in enumerate(PROMPTS)
    ]


def test_every_way_comes_to_the_same_live_and_over_recorded_samples(tmp_path: Path, tiny_llama: Path) -> None:
    def live(making: Making, way: str, question: Question) -> tuple[Any, ...]:
        wants = {**LIVE[way], "strategy": way, "answer": VOWEL, "budget": {"samples": 8}}
        asked = {**question.body, "model": "tiny@1", "reasoning": wants}
        given = asyncio.run(making.answering.answer(Request(endpoint="completions", body=asked)))
        told = given.body["reasoning"]
        agreement = told.get("agreement")
        return told.get("answer", ""), told["stopped"], told["samples"], given.usage.completion_tokens, agreement

    def replayed(one: Recorded, way: str) -> tuple[Any, ...]:
        found = asyncio.run(one.think(Way(name=way, most=8), 0))
        agreement = None if found.agreement is None else round(found.agreement, 6)
        tokens = sum(sample.completion_tokens for sample in found.taken)
        return found.answer, found.stopped, len(found.samples), tokens, agreement

    # In f32 a sample does not depend on what else is in the batch; in bf16 one in some dozens does.
    told = {"home": str(tmp_path / "home"), "engines": {"generation": "openvino", "precision": "f32"}}
    with Making(msgspec.convert(told, Settings)) as making:
        making.answering.offer("tiny@1", making.artifacts.put_folder(tiny_llama))
        ask = asking(making.answering.answer, "tiny@1")
        drawn = asyncio.run(draw_all(questions({}), 8, ask, lambda done, of: None))
        came: dict[str, list[tuple[Any, ...]]] = {}
        for way in LIVE:
            asked = questions(LIVE[way])
            rows = [Recorded(*one, reader(VOWEL), ask, "tiny@1") for one in zip(asked, drawn, strict=True)]
            came[way] = [replayed(row, way) for row in rows]
            assert came[way] == [live(making, way, question) for question in asked], way
    stops = {stopped for found in came.values() for _, stopped, *_ in found}
    assert stops > {"one-is-enough", "agreed"}  # the ways did not all do the same
    assert {len({sample.text for sample in row}) for row in drawn} != {1}, "the seed did not move on"


def sample(number: int, text: str) -> Sample:
    return Sample(number=number, text=text, completion_tokens=len(text), logprobs=(math.log(0.9),), id=f"s{number}")


def recorded(texts: str, ask: Any = None, **asked: Any) -> Recorded:
    question = Question(body={"prompt": "1+1=", "max_tokens": 4}, expected="2", asked=msgspec.convert(asked, Reasoning))
    row = [sample(number, text) for number, text in enumerate(texts, 1)]
    return Recorded(question, row, reader("(.)"), ask, "sums@1")


@given(texts=st.text("123", min_size=16, max_size=16), order=st.integers(0, 15))
@settings(max_examples=100, deadline=None)
def test_stopping_early_sees_what_the_vote_over_all_sees_first(texts: str, order: int) -> None:
    found = recorded(texts)
    early = asyncio.run(found.think(Way(name="self-consistency", most=16), order))
    fixed = asyncio.run(found.think(Way(name=FIXED, most=16), order))
    assert fixed.samples[: len(early.samples)] == early.samples
    assert len({one.number for one in fixed.samples}) == 16
    assert fixed.samples[0].number == order + 1
    if len(early.samples) == 16:
        assert early.answer == fixed.answer


def test_each_sample_is_judged_once_by_itself_as_it_is_for_callers() -> None:
    """A judge draws too: of two samples with one text it may take the one and not the other."""
    asked: list[str] = []
    says = iter(["3", "3", "3", "10"])  # of the samples in the order drawn

    async def judge(question: Question, number: int) -> Sample:
        asked.append(question.body["messages"][0]["content"])
        assert question.body["model"] == "judge@1"
        return Sample(number=number, text=next(says), completion_tokens=50, id=f"j{len(asked)}")

    found = recorded("3232", judge)
    by = Verification(type="judge", model="judge@1", question="Right?")
    for order in (0, 2):
        thought = asyncio.run(found.think(Way(name="best-of-n", most=4, verifier=by), order))
        assert thought.answer == "2"
        assert len(thought.samples) == len(thought.verdicts) == 4
        assert sum(one.completion_tokens for one in thought.taken) == 4 + 4 * 50
    first = asyncio.run(found.think(Way(name="best-of-n", most=2, verifier=by), 0))
    assert (first.answer, [one.id for one in first.verdicts]) == ("3", ["j1", "j2"])
    assert len(asked) == 4
    assert all(one.startswith("1+1=\n\nAnswer:\n") and one.endswith("Right?") for one in asked)


def test_a_judge_that_cannot_be_asked_leaves_a_vote_and_a_note() -> None:
    async def broken(question: Question, number: int) -> Sample:
        raise DataError("a question was answered with 404: no such model")

    by = Verification(type="judge", model="nobody@1")
    thought = asyncio.run(recorded("2322", broken).think(Way(name="best-of-n", most=4, verifier=by), 0))
    assert (thought.answer, thought.stopped) == ("2", "verifier-failed")
    assert thought.notes == ("the verifier said nothing of 3 of 3 samples",)


def test_a_thought_goes_on_live_from_the_recorded_sample() -> None:
    prompts: list[str] = []

    async def goes_on(question: Question, number: int) -> Sample:
        prompts.append(question.body["prompt"])
        return sample(number, "2")

    found = recorded("12", goes_on, cue="Sure?", rounds=3)
    way = Way(name="budget-forcing", most=4)
    thoughts = [asyncio.run(found.think(way, 0)) for _ in range(2)]
    assert thoughts[0] == thoughts[1]
    assert (thoughts[0].answer, thoughts[0].stopped, len(thoughts[0].samples)) == ("2", "confirmed", 3)
    assert prompts == ["1+1=1\nSure?", "1+1=1\nSure?2\nSure?"]


def test_a_verifier_that_is_none_is_named() -> None:
    by = Verification(type="regex", pattern="(")
    with pytest.raises(DataError, match=r"regular expression"):
        asyncio.run(recorded("12").think(Way(name="best-of-n", most=2, verifier=by), 0))
