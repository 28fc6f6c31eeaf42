"""Long thinking through a whole gateway, with the official client: samples, budgets, the ledger, the charge."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tokenworks.governance.keys import DEFAULT_SCOPES
from tokenworks.governance.limits import Limit, Subject
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.spending import Spending, charged, charged_micro
from tokenworks.ledger.sql.tables import Usage
from tokenworks.ledger.views import sum_up

if TYPE_CHECKING:
    from .conftest import House

USER: Any = [{"role": "user", "content": "how do I reset my password"}]


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[openai.OpenAI]:
    made = openai.OpenAI(base_url=f"{house.server.address}/v1", api_key=house.secret, max_retries=0)
    yield made
    made.close()


def think(client: openai.OpenAI, reasoning: dict[str, Any] | None = None, **more: Any) -> Any:
    extra = {"extra_body": {"reasoning": reasoning}} if reasoning is not None else {}
    asked: dict[str, Any] = {"model": "complete", "messages": USER, "max_tokens": 24, **extra, **more}
    return client.chat.completions.create(**asked)


def refused(client: openai.OpenAI, reasoning: dict[str, Any], **more: Any) -> Any:
    with pytest.raises(openai.APIStatusError) as error:
        think(client, reasoning, **more)
    return error.value


def parts_of(house: House, request_id: str) -> list[RequestEntry]:
    return [entry for entry in house.entries() if isinstance(entry, RequestEntry) and entry.part_of == request_id]


def own(house: House, name: str, **bounds: Any) -> tuple[openai.OpenAI, str]:
    """Return a client with a key of its own that is held to `bounds`."""
    secret, key = house.keys.create(f"t-{name}", name=name, scopes=DEFAULT_SCOPES)
    if bounds:
        house.limits.set(Limit(subject=Subject(tenant=f"t-{name}"), **bounds))
    return openai.OpenAI(base_url=f"{house.server.address}/v1", api_key=secret, max_retries=0), key.id


def test_an_answer_is_the_best_of_samples_that_stand_on_the_ledger(house: House, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="complete", messages=USER, max_tokens=24, reasoning_effort="low"
    )
    answer = raw.parse()
    told = answer.model_extra["reasoning"]
    entry, parts = house.entry(raw.headers["x-request-id"]), parts_of(house, raw.headers["x-request-id"])
    assert 2 <= len(parts) == told["samples"] == entry.samples <= 4
    assert sorted(told["requests"]) == sorted(part.request_id for part in parts)
    assert (entry.strategy, entry.stopped) == (told["strategy"], told["stopped"])
    assert answer.usage.completion_tokens == sum(part.completion_tokens for part in parts) == entry.completion_tokens
    assert answer.usage.prompt_tokens == sum(part.prompt_tokens for part in parts) == entry.prompt_tokens
    thought = answer.usage.completion_tokens_details.reasoning_tokens
    assert thought == entry.thinking_tokens == told["thinking_tokens"] > 0
    assert raw.headers["x-tokenworks-reasoning"].startswith("self-consistency; samples=")
    assert all(part.outcome == "ok" and part.policies == entry.policies and not part.learn for part in parts)
    assert "nothing was measured" in told["why"]


def test_an_answer_is_charged_once_and_its_samples_never(house: House, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="complete", messages=USER, max_tokens=24, extra_body={"reasoning": {"budget": {"samples": 3}}}
    )
    entry, parts = house.entry(raw.headers["x-request-id"]), parts_of(house, raw.headers["x-request-id"])
    told = raw.parse().model_extra["reasoning"]
    assert charged(entry) == entry.prompt_tokens + entry.completion_tokens > 0
    assert charged_micro(entry) == round(told["price"] * 1e6) > 0
    assert told["currency"] == "EUR"
    assert [(charged(part), charged_micro(part), part.price_micro) for part in parts] == [(0, 0, 0)] * len(parts)
    spending, usage, together = Spending(), Usage(), sum_up([entry, *parts])
    for one in (entry, *parts):
        spending.add(one)
        usage.add(one)
    assert sum(spent.tokens for spent in spending.rows().values()) == charged(entry)
    (row,) = usage.rows()
    assert row[-6:] == (1, 1, entry.prompt_tokens, entry.cached_tokens, entry.completion_tokens, charged(entry))
    assert (together.requests, together.completion_tokens) == (1, entry.completion_tokens)


def test_a_stream_holds_back_until_the_vote_and_then_tells_all(client: openai.OpenAI) -> None:
    stream = think(
        client, {"budget": {"samples": 3}}, stream=True, stream_options={"include_usage": True}, seed=5, temperature=0.8
    )
    events = list(stream)
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    whole = think(client, {"budget": {"samples": 3}}, seed=5, temperature=0.8)
    assert text == whole.choices[0].message.content
    assert events[-1].usage.completion_tokens_details.reasoning_tokens > 0
    assert [event for event in events if event.choices][-1].model_extra["reasoning"]["samples"] >= 2


def test_a_completion_can_be_thought_about(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "complete", "prompt": "the quick", "max_tokens": 8}
    answer = client.completions.create(**asked, extra_body={"reasoning": {"budget": {"samples": 2}}})
    assert answer.model_extra is not None
    assert answer.model_extra["reasoning"]["samples"] >= 1
    events = list(client.completions.create(**asked, stream=True, extra_body={"reasoning": {"budget": {"samples": 2}}}))
    assert events[-1].choices[0].finish_reason in ("stop", "length")


async def test_the_async_client_is_answered_too(house: House) -> None:
    async with openai.AsyncOpenAI(base_url=f"{house.server.address}/v1", api_key=house.secret) as client:
        answers = await asyncio.gather(
            *[
                client.chat.completions.create(
                    model="complete", messages=USER, max_tokens=8, reasoning_effort="low", seed=number
                )
                for number in range(4)
            ]
        )
    assert all(answer.model_extra["reasoning"]["samples"] >= 2 for answer in answers)  # type: ignore[index]


@pytest.mark.parametrize("strategy", ["none", "self-consistency", "confidence", "adaptive", "budget-forcing"])
def test_every_way_answers_on_a_real_engine(client: openai.OpenAI, strategy: str) -> None:
    answer = think(client, {"strategy": strategy, "budget": {"tokens": 120}})
    told = answer.model_extra["reasoning"]
    assert told["strategy"] == strategy
    assert answer.usage.completion_tokens <= 120
    assert answer.choices[0].message.content


def test_no_effort_is_a_plain_request(house: House, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="complete", messages=USER, max_tokens=4, reasoning_effort="none"
    )
    assert house.entry(raw.headers["x-request-id"]).samples == 0
    assert "reasoning" not in (raw.parse().model_extra or {})


def test_one_sample_at_temperature_zero(client: openai.OpenAI) -> None:
    told = think(client, {"budget": {"samples": 8}}, temperature=0).model_extra["reasoning"]
    assert (told["samples"], told["stopped"]) == (1, "temperature-0")


@pytest.mark.parametrize(
    ("reasoning", "param"),
    [
        ({"budget": {"samples": 0}}, "reasoning.budget.samples"),
        ({"budget": {"tokens": -5}}, "reasoning.budget.tokens"),
        ({"budget": {"seconds": 0}}, "reasoning.budget.seconds"),
        ({"budget": {"tokens": 7}}, "reasoning.budget.tokens"),
        ({"budget": {"money": 0.000001}}, "reasoning.budget.money"),
        ({"budget": {"joules": 5}}, "reasoning.budget.joules"),
        ({"budget": {"samples": 1000}}, "reasoning.budget.samples"),
        ({"strategy": "telepathy"}, "reasoning.strategy"),
        ({"strategy": "best-of-n"}, "reasoning.strategy"),
        ({"effort": "enormous"}, "reasoning_effort"),
        ({"answer": "("}, "reasoning.answer"),
        ({"verifier": {"type": "regex"}}, "reasoning.verifier"),
        ({"verifier": {"type": "json_schema"}}, "reasoning.verifier"),
        ({"verifier": {"type": "judge", "model": "secret"}, "budget": {"money": 1.0}}, "reasoning.verifier.model"),
        ({"budgets": {}}, "reasoning.budgets"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(client: openai.OpenAI, reasoning: dict[str, Any], param: str) -> None:
    error = refused(client, reasoning)
    assert error.status_code == 400
    assert error.body["param"] == param


def test_several_choices_are_not_thought_about(client: openai.OpenAI) -> None:
    assert refused(client, {}, n=2).body["param"] == "n"


@pytest.mark.parametrize("verifier", [{"type": "regex", "pattern": "."}, {"type": "json_schema", "schema": {}}])
def test_a_verifier_chooses(client: openai.OpenAI, verifier: dict[str, Any]) -> None:
    told = think(client, {"verifier": verifier, "budget": {"samples": 3}}).model_extra["reasoning"]
    assert told["strategy"] == "best-of-n"
    assert told["stopped"] in ("verified", "samples")


def test_a_judge_that_says_nonsense_is_lived_with_and_paid_for(house: House, client: openai.OpenAI) -> None:
    reasoning = {"verifier": {"type": "judge", "model": "complete"}, "budget": {"samples": 3}}
    raw = client.chat.completions.with_raw_response.create(
        model="complete", messages=USER, max_tokens=8, extra_body={"reasoning": reasoning}
    )
    told, entry = raw.parse().model_extra["reasoning"], house.entry(raw.headers["x-request-id"])
    parts = parts_of(house, entry.request_id)
    judges = [part for part in parts if "-j" in part.request_id]
    assert judges
    assert told["samples"] == len(parts) - len(judges)
    assert entry.completion_tokens == sum(part.completion_tokens for part in parts)


def test_max_completion_tokens_bounds_thinking_as_openai_says(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "complete", "messages": USER, "max_completion_tokens": 60}
    answer = client.chat.completions.create(**asked, reasoning_effort="high")
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 60


def test_a_budget_of_tokens_or_money_is_never_overspent_at_any_concurrency(client: openai.OpenAI) -> None:
    def one(number: int) -> None:
        tokens, money = 40 + 7 * number, 0.3 + 0.05 * number
        by_tokens = think(client, {"budget": {"tokens": tokens}}, seed=number, max_tokens=16)
        assert by_tokens.usage.completion_tokens <= tokens
        by_money = think(client, {"budget": {"money": money, "samples": 8}}, seed=number, max_tokens=8)
        assert by_money.model_extra["reasoning"]["price"] <= money + 1e-9

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(16)))


def test_the_time_is_a_bound_too(house: House, client: openai.OpenAI) -> None:
    house.wait_until(lambda: house.gateway.admit.in_flight == 0)
    error = refused(client, {"budget": {"seconds": 0.001, "samples": 4}}, max_tokens=2000)
    assert (error.status_code, error.body["code"]) == (504, "budget_exhausted")
    house.wait_until(lambda: house.gateway.admit.in_flight == 0)


def test_samples_stay_within_the_budget_of_the_tenant(house: House) -> None:
    most = 450
    client, key = own(house, "thinker", tokens_per_day=most)

    def one(number: int) -> int:
        try:
            think(client, {"budget": {"samples": 4}}, max_tokens=16, seed=number)
        except openai.RateLimitError:
            return 429
        return 200

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(one, range(9)))
    entries = [entry for entry in house.entries() if isinstance(entry, RequestEntry) and entry.key_id == key]
    assert sum(map(charged, entries)) <= most
    assert sum(e.prompt_tokens + e.completion_tokens for e in entries if e.part_of) <= most
    assert {200, 429} <= set(statuses)
    client.close()


def test_limits_that_end_thinking_leave_the_samples_that_were_drawn(house: House) -> None:
    client, _ = own(house, "two", requests_per_minute=2)
    answer = think(client, {"budget": {"samples": 6}, "confidence": 0.999})
    told = answer.model_extra["reasoning"]
    assert (told["samples"], told["stopped"]) == (2, "rate_limit_exceeded")
    client.close()


def test_a_key_that_may_not_ask_is_refused_before_anything_is_drawn(house: House) -> None:
    secret, _ = house.keys.create("poor", name="poor", scopes=frozenset({"feedback"}))
    with openai.OpenAI(base_url=f"{house.server.address}/v1", api_key=secret, max_retries=0) as client:
        error = refused(client, {})
    assert error.status_code == 403
    assert not parts_of(house, error.response.headers["x-request-id"])


def test_the_same_answer_is_given_again_under_its_key(house: House, client: openai.OpenAI) -> None:
    headers = {"idempotency-key": "think-once"}
    first = think(client, {"budget": {"samples": 2}}, extra_headers=headers)
    again = think(client, {"budget": {"samples": 2}}, extra_headers=headers)
    assert again.choices[0].message.content == first.choices[0].message.content
    assert again.model_extra["reasoning"]["requests"] == first.model_extra["reasoning"]["requests"]


def test_who_hangs_up_leaves_an_entry_for_the_answer_and_for_each_sample(house: House) -> None:
    with pytest.raises(openai.APITimeoutError):
        house.openai().with_options(timeout=0.3).chat.completions.create(
            model="complete", messages=USER, max_tokens=1500, extra_headers={"x-request-id": "req-hung-up-1"},
            extra_body={"reasoning": {"budget": {"samples": 4}}, "ignore_eos": True},
        )  # fmt: skip
    entry = house.entry("req-hung-up-1")
    assert entry.outcome == "cancelled"
    house.wait_until(lambda: len(parts_of(house, "req-hung-up-1")) >= 2)
    assert {part.outcome for part in parts_of(house, "req-hung-up-1")} == {"cancelled"}
    assert charged(entry) == 0


@pytest.mark.parametrize("budget", [{"tokens": 5_000_000, "samples": 2}, {"money": 5000.0, "samples": 2}])
def test_a_budget_larger_than_the_models_room_asks_for_no_more_than_there_is(
    client: openai.OpenAI, budget: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"model": "complete", "messages": USER}
    answer = client.chat.completions.create(**asked, extra_body={"reasoning": {"budget": budget}})
    assert answer.model_extra is not None
    assert answer.model_extra["reasoning"]["samples"] >= 1
