"""Criteria over answers: what passes, what fails, and what is no verdict at all."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import DataError
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.platform.asking import Asked
from tokenworks.gateway.platform.criteria import read_criteria
from tokenworks.gateway.platform.graders import grade
from tokenworks.gateway.platform.similarity import MEASURES, measure_named

TEXTS = {"input": "{{ sample.output_text }}", "reference": "{{ item.right }}"}
JUDGE = {"model": "judge", "input": [{"role": "user", "content": "Is {{ sample.output_text }} polite?"}]}


def judged(criterion, said="", right="", answer=""):
    """Return the verdict on `said`, where a model that judges answers `answer`."""
    seen = []

    async def ask(model, messages, sampling):
        seen.append((model, messages, sampling))
        return Asked(model=model, version=f"{model}@1", input=messages, text=answer, sampling=sampling)

    [read] = read_criteria([{"name": "c", **criterion}])
    graded = asyncio.run(grade(read, {"item": {"right": right}, "sample": {"output_text": said}}, ask))
    return graded, seen


@pytest.mark.parametrize(
    ("operation", "said", "right", "passed"),
    [
        ("eq", "yes", "yes", True), ("eq", "Yes", "yes", False), ("ne", "yes", "no", True), ("ne", "a", "a", False),
        ("like", "oh yes!", "yes", True), ("like", "oh YES!", "yes", False), ("ilike", "oh YES!", "yes", True),
        ("ilike", "STRASSE", "straße", True),
    ],
)  # fmt: skip
def test_texts_are_compared(operation, said, right, passed):
    graded, _ = judged({"type": "string_check", "operation": operation, **TEXTS}, said, right)
    assert (graded.passed, graded.score) == (passed, float(passed))


@settings(deadline=None)  # the first one imports a library
@given(st.text(alphabet="abc d", min_size=1), st.sampled_from(MEASURES))
def test_every_measure_lies_between_nothing_and_one(text, name):
    measure = measure_named(name)
    assert 0 <= measure(text, "a b c d") <= 1.000001
    assert measure("a b c d e f", "a b c d e f") == pytest.approx(1)


def test_likeness_passes_from_its_threshold_on():
    kind = {"type": "text_similarity", "evaluation_metric": "rouge_l", **TEXTS}
    graded, _ = judged({**kind, "pass_threshold": 0.5}, "the red fox", "the fox")
    assert graded.passed
    assert graded.score == pytest.approx(0.8)  # 2 of 3 and 2 of 2 words in common: F1 is 4/5
    assert not judged({**kind, "pass_threshold": 0.9}, "the red fox", "the fox")[0].passed


def test_a_label_must_be_one_of_those_asked_for():
    kind = {"type": "label_model", "labels": ["polite", "rude"], "passing_labels": ["polite"], **JUDGE}
    graded, seen = judged(kind, said="thanks", answer=" polite. ")
    assert graded.passed
    assert "Is thanks polite?" in seen[0][1][0]["content"]
    assert not judged(kind, answer="rude")[0].passed
    with pytest.raises(DataError, match="none of its labels"):
        judged(kind, answer="perhaps polite")


def test_a_score_must_lie_in_its_range():
    kind = {"type": "score_model", "range": [1, 5], "pass_threshold": 4, **JUDGE}
    graded, _ = judged(kind, answer="I give it 4.5")
    assert (graded.score, graded.passed) == (4.5, True)
    assert not judged(kind, answer="2")[0].passed
    for answer in ("nice", "7"):
        with pytest.raises(DataError, match="no number from 1 to 5"):
            judged(kind, answer=answer)


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        ({"type": "label_model", "labels": ["a"], "passing_labels": ["b"], **JUDGE}, "among labels"),
        ({"type": "score_model", "range": [1, 1], **JUDGE}, "rise from low to high"),
        ({"type": "multi", "graders": {}}, "multi criteria are refused"),
        ({"type": "string_check", "operation": "eq", "input": "x"}, "'reference' is missing"),
    ],
)
def test_criteria_that_cannot_be_meant_are_refused(criterion, words):
    with pytest.raises(ApiError, match=words):
        judged(criterion)
