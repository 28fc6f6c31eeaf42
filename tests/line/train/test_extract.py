"""Extraction: every answer keeps the schema, in one canonical form, and the model's card carries it."""

import json

import msgspec
import pytest

from line.train.lessons import chats
from tokenworks.core.errors import ConfigError, DataError
from tokenworks.line.train import extract
from tokenworks.line.train._conversations import read_conversations

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def lines(*answers):
    return chats(("Ann is 30", answer) for answer in answers)


def checked(*answers, schema=SCHEMA):
    return read_conversations(lines(*answers), check=extract.lesson(schema).check)


def test_answers_become_canonical_json():
    (conversation,) = checked('{ "name": "Ann",\n "age": 30 }')
    assert conversation[-1].content == '{"age":30,"name":"Ann"}'
    assert conversation[0].content == "Ann is 30"


@pytest.mark.parametrize(("answer", "says"), [
    ("Ann, 30", "not JSON"),
    ('{"name": "Ann"}', "'age' is a required property"),
    ('{"name": "Ann", "age": -1}', "$.age"),
    ('{"name": "Ann", "age": 3, "x": 1}', "'x' was unexpected"),
])  # fmt: skip
def test_an_answer_that_breaks_the_schema_is_named_by_its_line(answer, says):
    with pytest.raises(DataError) as caught:
        checked('{"name": "Bo", "age": 1}', answer)
    assert "line 2: " in str(caught.value)
    assert says in str(caught.value)


def test_a_schema_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="no JSON Schema"):
        extract.lesson({"type": "objekt"})


def test_the_card_carries_the_schema_in_the_order_that_answers_are_learnt_in():
    card = extract.lesson(SCHEMA).card
    assert card["schema"] == SCHEMA
    assert list(card["schema"]["properties"]) == ["age", "name"]


def test_schemas_and_instances_of_the_field_are_judged_alike(data_folder):
    """The published suite's own verdicts, through our check."""
    path = data_folder / "api-conformance"
    suites = sorted(path.rglob("draft2020-12/required.json")) + sorted(path.rglob("draft2020-12/enum.json"))
    if not suites:
        pytest.skip(f"no JSON Schema suite below {path}")
    for group in (group for suite in suites for group in json.loads(suite.read_text())):
        for case in group["tests"]:
            try:
                checked(json.dumps(case["data"]), schema=group["schema"])
                assert case["valid"], (group["description"], case["description"])
            except DataError:
                assert not case["valid"], (group["description"], case["description"])


def test_an_extractor_is_trained_end_to_end(bench, monkeypatch, tiny_causal):
    monkeypatch.setattr("tokenworks.line.train._sft_plan.PROBE_S", 0.1)
    answers = [json.dumps({"name": "Ann", "age": age}) for age in range(6)]
    inputs = {"train": bench.artifacts.put_bytes(lines(*answers)), "base": bench.artifacts.put_folder(tiny_causal)}
    params = extract.Params(schema=SCHEMA, method="full", budget="600 tokens", base="tiny")
    plan = extract.PLAN.run(inputs, params, bench)
    outputs = extract.TRAIN.run({**inputs, **plan}, params, bench)
    card = msgspec.json.decode((bench.artifacts.folder(outputs["model"]) / "tokenworks.json").read_bytes())
    assert card["kind"] == "extract"
    assert card["schema"] == SCHEMA
