from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.line.release.bom import DatasetFacts, FigureFacts, ModelFacts, bill_of_materials

FACTS = ModelFacts(
    model="route-ticket",
    kind="classify",
    label="confidential",
    licence="Apache-2.0",
    owner="mailto:support-platform@example.org",
    stage_key="a" * 64,
    base="minilm",
    base_digest="b" * 64,
    base_licence="Apache-2.0",
    parameters=22_713_216,
    architecture="BertModel",
    method="head",
    description="Routes a ticket to one of 12 desks.",
    limitations=("English only",),
    datasets=(
        DatasetFacts(
            name="train", digest="c" * 64, label="confidential", licences=("CC-BY-4.0", "in house"), documents=9
        ),
        DatasetFacts(name="corpus", digest="d" * 64, label="internal", bytes=12_345),
    ),
    figures=(FigureFacts(name="accuracy", value=0.93125, low=0.91, high=0.95, n=400, method="wilson"),),
    evaluation="e" * 64,
)
FILES = {"config.json": "1" * 64, "model.safetensors": "2" * 64}


def _problems(document: bytes):
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.decode())


def test_the_document_is_valid_cyclonedx_1_6():
    assert _problems(bill_of_materials(FACTS, FILES)) is None


def test_the_validator_of_this_test_can_say_no():
    assert (
        _problems(b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "mystery"}]}') is not None
    )


def test_model_data_base_and_figures_are_all_in_it():
    document = json.loads(bill_of_materials(FACTS, FILES))
    model = document["metadata"]["component"]
    card = model["modelCard"]
    assert model["type"] == "machine-learning-model"
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert model["authors"] == [{"name": "support-platform@example.org", "email": "support-platform@example.org"}]
    assert {each["name"]: each["hashes"][0]["content"] for each in model["components"]} == FILES
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [
        {
            "type": "accuracy (n=400)",
            "value": "0.93125",
            "confidenceInterval": {"lowerBound": "0.91", "upperBound": "0.95"},
        }
    ]
    properties = {each["name"]: each["value"] for each in model["properties"]}
    assert properties["tokenworks:label"] == "confidential"
    assert properties["tokenworks:parameters"] == "22713216"
    assert properties["tokenworks:evaluation"] == "e" * 64


def test_every_reference_points_to_a_component_that_is_there():
    document = json.loads(bill_of_materials(FACTS, FILES))
    refs = {each["bom-ref"] for each in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    datasets = document["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"]
    assert {each["ref"] for each in datasets} < refs
    assert {each["ref"] for each in document["dependencies"]} == refs
    assert set(document["dependencies"][0]["dependsOn"]) == refs - {"model:route-ticket"}


def test_a_dataset_carries_its_label_hash_and_licences():
    train = next(c for c in json.loads(bill_of_materials(FACTS, FILES))["components"] if c["name"] == "train")
    assert train["data"][0]["classification"] == "confidential"
    assert train["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]
    assert train["licenses"] == [{"license": {"id": "CC-BY-4.0"}}, {"license": {"name": "in house"}}]


def test_equal_facts_give_equal_bytes_and_other_files_another_serial_number():
    first = bill_of_materials(FACTS, FILES)
    assert first == bill_of_materials(FACTS, dict(reversed(FILES.items())))
    other = json.loads(bill_of_materials(FACTS, {**FILES, "x": "3" * 64}))
    assert other["serialNumber"] != json.loads(first)["serialNumber"]


def test_a_model_from_scratch_has_no_base_component():
    facts = ModelFacts(
        model="code", kind="complete", label="public", licence="", owner="", stage_key="s", base="from-scratch"
    )
    document = json.loads(bill_of_materials(facts, {}))
    assert document["components"] == []
    assert _problems(json.dumps(document).encode()) is None


@pytest.mark.parametrize("kind", ["classify", "extract", "embed", "complete", "chat", "agent"])
def test_every_kind_of_task_gives_a_valid_document(kind: str):
    facts = ModelFacts(model="m", kind=kind, label="internal", licence="MIT", owner="team", stage_key="s")
    assert _problems(bill_of_materials(facts, FILES)) is None


_TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
_DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)


@settings(max_examples=15, deadline=None)
@given(
    name=_TEXT.filter(bool),
    licence=_TEXT,
    owner=_TEXT,
    description=_TEXT,
    digest=_DIGEST,
    value=st.floats(allow_nan=False),
)
def test_no_text_of_a_user_can_make_it_invalid(name, licence, owner, description, digest, value):
    facts = ModelFacts(
        model=name,
        kind="classify",
        label="internal",
        licence=licence,
        owner=owner,
        stage_key="s",
        description=description,
        datasets=(DatasetFacts(name=name, digest=digest, label="public", licences=(licence,)),),
        figures=(FigureFacts(name="accuracy", value=value, low=value, high=value, n=1),),
    )
    assert _problems(bill_of_materials(facts, FILES)) is None
