"""/v1/moderations by the official client: the line's own detectors, as the factory passes them in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import openai
import pytest

from tokenworks.factory.checking import check, detectors
from tokenworks.gateway.app import build
from tokenworks.gateway.server import serve
from tokenworks.ledger.bodies import named

if TYPE_CHECKING:
    from .conftest import House

TEXT = "Call 030-1234567 or write to anna.muster@klinik-nord.de about IBAN DE89 3704 0044 0532 0130 00."
SECRET = "the token is ghp_16C7e42F292c6912E7710c838347Ae178B4a"


@pytest.fixture(scope="module")
def url(house: House) -> Iterator[str]:
    """A second face of the same house, with the detectors that a factory passes in."""

    async def begin():
        gateway = build(replace(house.parts(), detectors=detectors()))
        return await serve(gateway.app, "127.0.0.1", 0, drain_s=5)

    server = house.run(begin())
    yield server.address
    house.run(server.stop())


@pytest.fixture(scope="module")
def client(house: House, url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=house.secret, max_retries=0) as made:
        yield made


def test_personal_data_is_found_named_and_not_repeated(house: House, client: openai.OpenAI) -> None:
    raw = client.moderations.with_raw_response.create(input=[TEXT, "nothing to see"])
    found, nothing = raw.parse().results
    assert found.flagged
    assert not nothing.flagged
    categories = found.categories.model_dump()
    assert categories["email"] is categories["iban"] is True
    assert categories["credit-card"] is False
    assert "violence" not in raw.http_response.json()["results"][0]["categories"]  # nobody has judged it
    places = {TEXT[one["start"] : one["end"]] for one in found.findings if one["kind"] in ("email", "iban")}
    assert places == {"anna.muster@klinik-nord.de", "DE89 3704 0044 0532 0130 00"}
    assert (found.label, nothing.label) == ("confidential", "public")
    assert b"anna.muster" not in raw.http_response.content
    entry = house.entry(raw.headers["x-request-id"])
    assert (entry.endpoint, entry.outcome, entry.label, entry.learn) == ("moderations", "ok", "confidential", False)
    assert raw.headers["x-tokenworks-label"] == "confidential"
    assert house.bodies.get(named("default", entry.request_id)) is None


def test_a_secret_makes_a_text_restricted(client: openai.OpenAI) -> None:
    said = client.moderations.create(input=[{"type": "text", "text": SECRET}], model="detectors").results[0]
    assert said.categories.model_dump()["secret:github-token"] is True
    assert said.label == "restricted"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": "x", "model": "omni-moderation-latest"}, "there is: detectors"),
        ({"input": []}, "input"),
        ({"input": [{"type": "image_url", "image_url": {"url": "http://x"}}]}, "image_url"),
        ({"input": "x" * 1_000_001}, "send it in parts"),
        ({"input": "x", "threshold": 1}, "unknown field 'threshold'"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(client: openai.OpenAI, body: dict[str, object], words: str) -> None:
    with pytest.raises(openai.APIStatusError) as refusal:
        client.post("/moderations", body=body, cast_to=object)
    assert words in refusal.value.message


def test_every_detector_that_finds_something_is_among_the_categories(data_folder: Path) -> None:
    texts = [
        path.read_text(errors="replace") for path in sorted((data_folder / "security-cases").rglob("*.json*"))[:20]
    ]
    assert texts, "the pack has such files"
    kinds = {place.kind for text in texts for place in check(text[:200_000]).places}
    assert kinds
    assert kinds <= set(detectors().kinds)
