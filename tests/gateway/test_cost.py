"""What an answer cost is told with it, stands on its entry, and changes nothing where nobody configured it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metering.costs import COSTS
from tokenworks.core.toml import parse_toml
from tokenworks.core.usage import Spent
from tokenworks.gateway.exchange import Exchange, Handle, Reply, whole
from tokenworks.gateway.layers.cost import Cost, amount, in_events, with_figures
from tokenworks.governance.prices import Price
from tokenworks.metering.money.costs_file import CostFile, Sheet
from tokenworks.metering.money.request_cost import Costs
from tokenworks.serving.answer import EngineAnswer, EngineCall
from tokenworks.settings import ServerSettings

if TYPE_CHECKING:
    from .conftest import House

SHEET = Sheet(parse_toml(COSTS + '\n[tokens."*"]\ninput = 2.0\noutput = 8.0\n', CostFile, where="costs.toml"))
PROMPT = "a card was lost in the mail"


@pytest.fixture(scope="module")
def priced(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gateway whose costs file prices tokens at 2 and 8 a million, and whose callers pay 1000 and 3000."""
    from .conftest import House

    cost = Cost(Costs(SHEET), currency="EUR", shown="all")
    opened = House(tmp_path_factory.mktemp("priced"), {"complete@1": tiny_llama}, ServerSettings(), cost=cost)
    try:
        opened.release("complete")
        opened.run(opened.pool.ready("complete@1"))
        yield opened
    finally:
        opened.close()


def ask(house: House, **changes: Any) -> Any:
    body = {"model": "complete", "prompt": PROMPT, "max_tokens": 4, "temperature": 0, **changes}
    return house.openai().completions.with_raw_response.create(**body, extra_body={"ignore_eos": True})


def test_an_answer_carries_its_price_and_cost_and_its_entry_has_the_same(priced: House) -> None:
    answer = ask(priced)
    usage = answer.parse().usage
    entry = priced.entry(answer.headers["x-request-id"])
    assert usage.cost_micro == entry.cost_micro > 0
    assert usage.price_micro == entry.price_micro > usage.cost_micro
    assert usage.currency == answer.headers["x-tokenworks-currency"] == "EUR"
    assert answer.headers["x-tokenworks-cost"] == amount(entry.cost_micro)
    assert answer.headers["x-tokenworks-price"] == amount(entry.price_micro)
    if not entry.engine_s:  # else the machine's time is what it cost
        stated = (usage.prompt_tokens * 2, usage.completion_tokens * 8)
        assert abs(entry.cost_micro - sum(stated)) <= 1


def test_a_stream_has_them_in_its_usage_and_behind_its_last_event(priced: House) -> None:
    asked = {"model": "complete", "prompt": PROMPT, "max_tokens": 4, "stream": True, "ignore_eos": True}
    body = {**asked, "stream_options": {"include_usage": True}}
    answer = priced.http().post("/v1/completions", json=body)
    entry = priced.entry(answer.headers["x-request-id"])
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert [event["usage"]["cost_micro"] for event in events if event.get("usage")] == [entry.cost_micro]
    assert f": x-tokenworks-cost: {amount(entry.cost_micro)}\n" in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")


def test_a_stream_without_usage_still_says_what_it_cost(priced: House) -> None:
    chunks = list(priced.openai().completions.create(model="complete", prompt=PROMPT, max_tokens=4, stream=True))
    assert all(chunk.usage is None for chunk in chunks)
    body = {"model": "complete", "prompt": PROMPT, "max_tokens": 4, "stream": True}
    answer = priced.http().post("/v1/completions", json=body)
    entry = priced.entry(answer.headers["x-request-id"])
    assert f": x-tokenworks-price: {amount(entry.price_micro)}\n" in answer.text


def test_a_refusal_costs_nothing_and_says_nothing(priced: House) -> None:
    answer = priced.http().post("/v1/completions", json={"model": "nothing", "prompt": "x"})
    assert answer.status_code == 404
    assert not [name for name in answer.headers if "cost" in name or "price" in name]
    assert priced.entry(answer.headers["x-request-id"]).cost_micro == 0


def test_without_costs_nothing_is_added(house: House) -> None:
    answer = ask(house)
    assert "cost_micro" not in answer.parse().usage.model_extra
    assert not [name for name in answer.headers if name in ("x-tokenworks-cost", "x-tokenworks-price")]


async def through(cost: Cost, answer: Reply, **known: Any) -> tuple[Reply, Exchange]:
    """Return what the layer makes of an engine's answer."""
    exchange = Exchange(endpoint="completions", read=whole(b""), request_id="req-1", at=1.79e9, **known)
    exchange.call = EngineCall(ref="complete@1", path="/v1/completions", body=b"{}")
    exchange.version = "complete@1"

    async def engine(asked: Exchange) -> Reply:
        asked.spent = Spent(engine_s=2.0, joules=7200.0, joules_error=0.05, meter="rapl")
        return answer

    proceed: Handle = engine
    return await cost(exchange, proceed), exchange


ANSWER = EngineAnswer(status=200, body=b'{"id":"x","choices":[],"usage":{"prompt_tokens":3},"z":1}')


async def test_joules_and_their_grade_are_told_in_headers():
    reply, exchange = await through(Cost(Costs(SHEET), currency="EUR", shown="all"), ANSWER)
    told = dict(reply.headers)
    fixed_hour = 17.4857 - 8 * 1.54 * 0.15
    assert exchange.cost_micro() == pytest.approx((2 / 3600 * fixed_hour + 0.002 * 1.54 * 0.15) * 1e6, abs=2)
    assert (told["x-tokenworks-joules"], told["x-tokenworks-joules-error"], told["x-tokenworks-meter"]) == (
        "7200",
        "0.05",
        "rapl",
    )
    assert json.loads(reply.body) == {
        "id": "x", "choices": [], "z": 1,
        "usage": {"prompt_tokens": 3, "cost_micro": exchange.cost_micro(), "currency": "EUR"},
    }  # fmt: skip


async def test_an_operator_may_tell_the_price_alone_or_nothing():
    price = Price(input_nano=1000)
    only, _ = await through(Cost(Costs(SHEET), currency="EUR", shown="price"), ANSWER, price=price)
    assert {name for name, _ in only.headers if name.startswith("x-")} == {
        "x-tokenworks-price",
        "x-tokenworks-currency",
    }
    none, exchange = await through(Cost(Costs(SHEET), currency="EUR", shown="nothing"), ANSWER, price=price)
    assert none == ANSWER
    assert exchange.cost_micro() > 0


async def test_a_shadows_cost_is_known_and_told_to_nobody():
    reply, exchange = await through(Cost(Costs(SHEET), currency="EUR", shown="all"), ANSWER, arm="shadow")
    assert reply == ANSWER
    assert exchange.cost_micro() > 0


def test_figures_go_into_usage_alone_and_other_bytes_stay():
    assert with_figures(b'{"a":[1.50],"usage":{"b":1e3}}', {"c": 1}) == b'{"a":[1.50],"usage":{"b":1e3,"c":1}}'
    assert with_figures(b"[1]", {"c": 1}) == b"[1]"
    assert with_figures(b'{"usage":null}', {"c": 1}) == b'{"usage":null}'
    events = b'data: {"x":1}\n\ndata: {"usage":{}}\n\n'
    assert in_events(events, {"c": 1}) == b'data: {"x":1}\n\ndata: {"usage":{"c":1}}\n\n'


@pytest.mark.parametrize(("micro", "text"), [(0, "0.000000"), (1, "0.000001"), (12_345_678, "12.345678")])
def test_amounts_are_written_with_all_digits(micro, text):
    assert amount(micro) == text


def test_answers_in_anthropics_words_carry_them_as_headers_and_streams_stay_readable(priced: House) -> None:
    import anthropic

    client = anthropic.Anthropic(base_url=priced.server.address, api_key=priced.secret, max_retries=0)
    asked: dict[str, Any] = {"model": "complete", "max_tokens": 4, "messages": [{"role": "user", "content": PROMPT}]}
    answer = client.messages.with_raw_response.create(**asked)
    assert float(answer.headers["x-tokenworks-cost"]) > 0
    with client.messages.stream(**asked) as stream:
        said = stream.get_final_message()
    assert said.usage.output_tokens == answer.parse().usage.output_tokens
    client.close()
