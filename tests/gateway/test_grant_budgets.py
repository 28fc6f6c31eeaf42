"""What a grant may come to, through the gateway's own socket: beside its key's limits, by the ledger's own entries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tokenworks.governance.grants import Rights
from tokenworks.governance.keys import SHOWN
from tokenworks.governance.limits import Subject
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.spending import Spent, charged, charged_micro, counted, load_spending
from tokenworks.store.nouns import Budget, Key

from .test_limits import CLAIM, PROMPT, TOKENS, ask, ask_many, limit

if TYPE_CHECKING:
    from .conftest import House

Make = Callable[..., tuple[str, Key]]
HOUR_S = 3600.0


@pytest.fixture
def make(house: House) -> Make:
    """Return what makes a grant of a key that nobody else uses, with a budget."""
    secret, _ = house.keys.create(f"tenant-{time.monotonic_ns()}")

    def grant(**budget: int) -> tuple[str, Key]:
        return house.keys.grant(secret[:SHOWN], Rights(task="nightly", lasts_s=HOUR_S, budget=Budget(**budget)))

    return grant


def entries(house: House, kept: Key) -> list[RequestEntry]:
    return [e for e in house.entries() if isinstance(e, RequestEntry) and e.grant == kept.prefix]


def came_to(house: House, kept: Key) -> Spent:
    """Return the sums over the entries themselves; what is enforced and what is folded anew must be the same."""
    of = entries(house, kept)
    spent = Spent(sum(map(charged, of)), sum(map(charged_micro, of)), sum(map(counted, of)))
    rebuilt = load_spending(house.home / "ledger", house.home / f"{kept.prefix}.json")
    assert rebuilt.of_grant(kept.prefix) == house.gateway.limit._spending.of_grant(kept.prefix) == spent
    return spent


def cost_of(house: House, secret: str) -> tuple[int, int]:
    """Return the tokens and the money, in millionths, that a request comes to."""
    usage = ask(house, secret).parse().usage
    return usage.total_tokens, usage.prompt_tokens * 1000 + usage.completion_tokens * 3000  # [prices] in conftest


async def test_of_1000_requests_at_once_exactly_those_within_the_budget_of_their_grant_are_served(
    house: House, make: Make
) -> None:
    cost, _ = cost_of(house, make()[0])
    secret, kept = make(tokens=99 * cost + CLAIM)
    answers = await ask_many(house, secret, 1000)
    assert [status for status, _ in answers].count(200) == 100
    refused = [body["error"] for status, body in answers if status == 429]
    assert len(refused) == 900
    assert {error["code"] for error in refused} == {"insufficient_quota"}
    assert {f"tokens in all for grant={kept.prefix} has" in error["message"] for error in refused} == {True}
    assert came_to(house, kept) == Spent(100 * cost, came_to(house, kept).micro, 100)


@pytest.mark.parametrize("unit", ["money", "requests"])
async def test_of_200_requests_at_once_neither_money_nor_requests_are_overspent(
    house: House, make: Make, unit: str
) -> None:
    tokens, micro = cost_of(house, make()[0])
    most = (len(PROMPT) + 2) * 1000 + TOKENS * 3000
    secret, kept = make(money_micro=19 * micro + most) if unit == "money" else make(requests=20)
    answers = await ask_many(house, secret, 200)
    assert [status for status, _ in answers].count(200) == 20
    assert {body["error"]["code"] for status, body in answers if status != 200} == {"insufficient_quota"}
    spent = came_to(house, kept)
    assert (spent.tokens, spent.requests) == (20 * tokens, 20)
    assert spent.micro <= 19 * micro + most  # less where an engine had the prompt already


async def test_a_grant_of_many_and_its_key_are_each_held_to_their_own(house: House, make: Make) -> None:
    cost, _ = cost_of(house, make()[0])
    (one, of_one), (other, of_other) = make(requests=8), make()
    subject = Subject(key=of_one.parent)
    limit(house, subject, tokens_per_month=1 + 19 * cost + cost + CLAIM)  # one was asked already, then 20 fit
    try:
        first = await ask_many(house, one, 30)
        second = await ask_many(house, other, 40)
    finally:
        house.limits.drop(subject)
    assert [status for status, _ in first].count(200) == 8
    assert [status for status, _ in second].count(200) == 12
    assert {f"for key={of_other.parent}" in body["error"]["message"] for code, body in second if code != 200} == {True}
    assert (came_to(house, of_one).requests, came_to(house, of_other).requests) == (8, 12)


def test_a_grant_is_told_what_it_has_left_and_that_waiting_gives_it_no_more(house: House, make: Make) -> None:
    cost, micro = cost_of(house, make()[0])
    secret, kept = make(tokens=1000, money_micro=500_000, requests=2, requests_per_minute=50, concurrency=3)
    told = ask(house, secret).headers
    assert told["x-tokenworks-budget-limit-tokens"] == "1000"
    assert told["x-tokenworks-budget-remaining-tokens"] == str(1000 - CLAIM)
    assert told["x-tokenworks-budget-limit-money"] == "0.500000 EUR"
    assert (told["x-tokenworks-budget-limit-requests"], told["x-tokenworks-budget-remaining-requests"]) == ("2", "1")
    assert told["x-ratelimit-limit-requests"] == "50"
    assert "x-tokenworks-budget-reset" not in told
    assert ask(house, secret).headers["x-tokenworks-budget-remaining-tokens"] == str(1000 - cost - CLAIM)
    client = house.openai(secret, max_retries=5)
    with pytest.raises(openai.RateLimitError) as refused:
        client.completions.create(model="complete", prompt=PROMPT, max_tokens=1)
    assert refused.value.code == "insufficient_quota"
    expected = f"the budget of 2 requests in all for grant={kept.prefix} has 0 left and this request may need 1; "
    assert refused.value.body["message"] == f"{expected}have a grant made for more"
    headers = refused.value.response.headers
    assert (headers["x-should-retry"], headers.get("retry-after")) == ("false", None)
    entry = house.entry(headers["x-request-id"])
    assert (entry.outcome, entry.grant, entry.error) == ("refused", kept.prefix, "insufficient_quota")
    spent = came_to(house, kept)
    assert (spent.tokens, spent.requests) == (2 * cost, 2)
    assert 0 < spent.micro <= 2 * micro


def test_rate_and_concurrency_of_a_grant_are_its_own(house: House, make: Make) -> None:
    (slow, _), (free, _) = make(requests_per_minute=1), make()
    assert ask(house, slow).parse().usage
    with pytest.raises(openai.RateLimitError, match="1 requests per minute for grant=") as refused:
        ask(house, slow)
    assert refused.value.code == "rate_limit_exceeded"
    assert int(refused.value.response.headers["retry-after"]) > 0
    assert ask(house, free).parse().usage


async def test_more_requests_than_a_grant_may_run_at_once_wait_for_each_other(house: House, make: Make) -> None:
    secret, _ = make(concurrency=2)
    assert [status for status, _ in await ask_many(house, secret, 12)] == [200] * 12


def test_a_chat_without_a_bound_gets_one_where_its_grant_has_a_budget(house: House, make: Make) -> None:
    def chat(secret: str) -> Any:
        messages: Any = [{"role": "user", "content": "hello"}]
        return house.openai(secret).chat.completions.create(
            model="complete", messages=messages, extra_body={"ignore_eos": True}
        )

    assert chat(make(tokens=5000)[0]).usage.completion_tokens == 64


def test_what_no_engine_answered_is_no_request(house: House, make: Make) -> None:
    secret, kept = make(requests=2)
    with pytest.raises(openai.BadRequestError):
        ask(house, secret, prompt="x" * 9000, max_tokens=1)
    with pytest.raises(openai.NotFoundError):
        ask(house, secret, model="nothing")
    assert came_to(house, kept) == Spent()
    assert [ask(house, secret).parse().usage.completion_tokens for _ in range(2)] == [TOKENS, TOKENS]


def test_each_sample_of_an_answer_is_a_request_and_its_tokens_are_charged_once(house: House, make: Make) -> None:
    secret, kept = make(requests=4)
    reasoning = {"reasoning": {"strategy": "self-consistency", "budget": {"samples": 3}}}
    messages: Any = [{"role": "user", "content": "how do I reset my password"}]

    def think() -> Any:
        return house.openai(secret).chat.completions.create(
            model="complete", messages=messages, max_tokens=8, temperature=1.0, extra_body=reasoning
        )

    answer = think()
    samples = answer.model_extra["reasoning"]["samples"]
    assert 1 < samples <= 3
    assert came_to(house, kept)[::2] == (answer.usage.total_tokens, samples)
    while came_to(house, kept).requests < 4:
        ask(house, secret)
    with pytest.raises(openai.RateLimitError, match=f"4 requests in all for grant={kept.prefix}"):
        think()


def test_a_stream_that_is_broken_off_is_charged_to_its_grant_as_far_as_it_was_delivered(
    house: House, make: Make
) -> None:
    secret, kept = make(tokens=3000)
    stream = house.openai(secret).completions.create(
        model="complete", prompt=PROMPT, max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
    )
    for _, _ in zip(range(5), stream, strict=False):
        pass
    stream.close()
    house.wait_until(lambda: bool(entries(house, kept)))
    spent = came_to(house, kept)
    assert 5 <= spent.tokens < 2000
    assert spent.requests == 1
    left = int(ask(house, secret).headers["x-tokenworks-budget-remaining-tokens"])
    assert left == 3000 - spent.tokens - CLAIM


async def test_what_began_in_the_name_of_a_grant_has_its_budget_when_it_goes_on(house: House, make: Make) -> None:
    _, kept = make(tokens=77)
    who = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(house.keys.stand_in(kept.prefix), house.loop))
    assert who.budget == Budget(tokens=77)
