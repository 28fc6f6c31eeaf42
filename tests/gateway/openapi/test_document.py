"""The description as a document: valid, complete in itself, and of nothing but what is served."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tokenworks.gateway.openapi.document import ALL, DESCRIBED, describe
from tokenworks.gateway.openapi.operation import NAMED, Operation

if TYPE_CHECKING:
    from ..conftest import House


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(describe(DESCRIBED)))
    return made


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_place_and_every_id_is_described_once() -> None:
    assert len(DESCRIBED) == len(ALL) == len({one.id for one in ALL})


def test_whatever_is_named_is_there_and_whatever_is_there_is_named(document: dict[str, Any]) -> None:
    named = set(re.findall(r'"#/components/(\w+)/([^"]+)"', msgspec.json.encode(document).decode()))
    there = {(kind, name) for kind, those in document["components"].items() for name in those}
    assert named == {one for one in there if one[0] != "securitySchemes"}
    assert not [name for _, name in there if re.search(r"[^\w-]", name)]


def test_a_route_that_nobody_has_described_is_found_out() -> None:
    with pytest.raises(KeyError, match="/v1/new"):
        describe([*DESCRIBED, ("GET", "/v1/new")])


@pytest.mark.parametrize(
    "one", [one for one in ALL if hasattr(one.body, "__struct_fields__")], ids=lambda one: str(one.id)
)
def test_the_fields_of_a_body_are_those_of_the_type_that_parses_it(one: Operation, document: dict[str, Any]) -> None:
    content = document["paths"][one.path]["post"]["requestBody"]["content"]["application/json"]
    schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    assert tuple(schema["properties"]) == one.body.__struct_encode_fields__
    assert schema["additionalProperties"] is False
    wrong = dict.fromkeys([*schema["properties"], "another_field"], None)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, one.body)


def test_it_is_answered_without_a_key_and_names_only_what_this_gateway_serves(house: House) -> None:
    answer = httpx.get(f"{house.server.address}/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    shown = {
        (method.upper(), NAMED.sub("*", path)) for path, those in answer.json()["paths"].items() for method in those
    }
    assert shown == set(house.gateway.app.served)
    assert ("POST", "/v1/chat/completions") in shown
    assert ("POST", "/v1/files") not in shown  # this gateway was built without a platform
