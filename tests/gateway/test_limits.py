"""Limits and budgets through the gateway's own socket, with a real engine, ledger and catalog."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tokenworks.gateway.admission.place import Place
from tokenworks.gateway.limits.counters import LocalCounters
from tokenworks.governance.limits import Limit, Subject
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.spending import charged, charged_micro, day_of, load_spending

if TYPE_CHECKING:
    from .conftest import House

PROMPT = "a card was lost in the mail"
TOKENS = 4
LIKELY = (len(PROMPT) + 2) // 4 + 1 + TOKENS  # four bytes a token, for rates
FRESH_S = 0.06
CLAIM = len(PROMPT) + 2 + TOKENS  # what a request may come to: a token a byte, two marks, the answer


@pytest.fixture
def caller(house: House) -> Iterator[tuple[str, Subject]]:
    """A key of a tenant that nobody else uses, and what limits its tenant."""
    tenant = f"tenant-{time.monotonic_ns()}"
    secret, _ = house.keys.create(tenant)
    subject = Subject(tenant=tenant)
    yield secret, subject
    if any(limit.subject == subject for limit in house.limits.all()):
        house.limits.drop(subject)


def ask(house: House, secret: str, **changes: Any) -> Any:
    body = {"model": "complete", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0} | changes
    body.setdefault("extra_body", {"ignore_eos": True})
    return house.openai(secret).completions.with_raw_response.create(**body)


def spent(house: House, tenant: str) -> int:
    return sum(charged(e) for e in house.entries() if isinstance(e, RequestEntry) and e.tenant == tenant)


def limit(house: House, subject: Subject, **bounds: Any) -> None:
    house.limits.set(Limit(subject=subject, **bounds))
    time.sleep(FRESH_S)  # until the gateway has read it


def each(house: House, secret: str) -> int:
    """Return what a request really comes to."""
    usage = ask(house, secret).parse().usage
    assert usage.completion_tokens == TOKENS
    return usage.total_tokens


async def ask_many(house: House, secret: str, count: int) -> list[tuple[int, dict[str, Any]]]:
    """Return status and body of so many requests, all under way at the same time."""
    asked = {"model": "complete", "prompt": PROMPT, "max_tokens": TOKENS, "ignore_eos": True}
    body = json.dumps(asked).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\nconnection: close\r\n"
    sent = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    together = asyncio.Barrier(count)

    async def one() -> tuple[int, dict[str, Any]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
        await together.wait()
        writer.write(sent)
        got = await reader.read()
        writer.close()
        return int(got.split(b" ", 2)[1]), json.loads(got.partition(b"\r\n\r\n")[2])

    return await asyncio.gather(*(one() for _ in range(count)))


async def test_of_1000_requests_at_once_exactly_those_within_the_budget_are_served(
    house: House, caller: tuple[str, Subject]
) -> None:
    secret, subject = caller
    cost = each(house, secret)
    limit(house, subject, tokens_per_day=cost + 99 * cost + CLAIM)  # one was asked already, then 100 fit
    answers = await ask_many(house, secret, 1000)
    served = [body for status, body in answers if status == 200]
    refused = [body["error"]["code"] for status, body in answers if status == 429]
    assert len(served) == 100
    assert refused == ["insufficient_quota"] * 900
    assert sum(body["usage"]["total_tokens"] for body in served) == 100 * cost == spent(house, subject.tenant) - cost


def test_a_client_reads_its_limits_from_the_headers_that_openai_sends(
    house: House, caller: tuple[str, Subject]
) -> None:
    secret, subject = caller
    cost = each(house, secret)
    limit(house, subject, requests_per_minute=3, tokens_per_minute=600, tokens_per_day=1000, concurrency=2)
    first = ask(house, secret).headers
    assert first["x-ratelimit-limit-requests"] == "3"
    assert first["x-ratelimit-remaining-requests"] == "2"
    assert first["x-ratelimit-limit-tokens"] == "600"
    assert first["x-ratelimit-remaining-tokens"] == str(600 - LIKELY)
    assert re.fullmatch(r"(\d+h)?(\d+m)?([\d.]+s|\d+ms)", first["x-ratelimit-reset-requests"])
    assert first["x-tokenworks-budget-remaining-tokens"] == str(1000 - cost - CLAIM)
    ask(house, secret)
    ask(house, secret)
    with pytest.raises(openai.RateLimitError) as refused:
        ask(house, secret)
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.type == "requests"
    after_s = float(refused.value.response.headers["retry-after-ms"]) / 1000
    assert 10 < after_s <= 20 * 1.25 + 1
    entry = house.entry(refused.value.response.headers["x-request-id"])
    assert (entry.outcome, entry.status, entry.error) == ("refused", 429, "rate_limit_exceeded")


def test_what_can_never_pass_is_not_asked_again(house: House, caller: tuple[str, Subject]) -> None:
    secret, subject = caller
    limit(house, subject, tokens_per_minute=10)
    with pytest.raises(openai.RateLimitError, match="can never pass") as refused:
        house.openai(secret, max_retries=5).completions.create(model="complete", prompt=PROMPT, max_tokens=100)
    assert refused.value.response.headers["x-should-retry"] == "false"


async def test_more_requests_than_may_run_at_once_wait_for_each_other(
    house: House, caller: tuple[str, Subject]
) -> None:
    secret, subject = caller
    limit(house, subject, concurrency=2)
    answers = await ask_many(house, secret, 12)
    assert [status for status, _ in answers] == [200] * 12


def test_a_chat_without_a_bound_gets_one_where_there_is_a_budget(house: House, caller: tuple[str, Subject]) -> None:
    secret, subject = caller
    limit(house, subject, tokens_per_day=5000)
    answer = house.openai(secret).chat.completions.create(
        model="complete", messages=[{"role": "user", "content": "hello"}], extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 64
    assert answer.choices[0].finish_reason == "length"


def test_a_stream_that_is_broken_off_is_charged_with_what_was_delivered(
    house: House, caller: tuple[str, Subject]
) -> None:
    secret, subject = caller
    limit(house, subject, tokens_per_day=3000)
    stream = house.openai(secret).completions.create(
        model="complete", prompt=PROMPT, max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
    )
    for _, _ in zip(range(5), stream, strict=False):
        pass
    stream.close()
    house.wait_until(lambda: spent(house, subject.tenant) > 0)
    charged_with = spent(house, subject.tenant)
    assert 5 <= charged_with < 2000
    left = int(ask(house, secret).headers["x-tokenworks-budget-remaining-tokens"])
    assert left == 3000 - charged_with - CLAIM


def test_after_a_restart_the_budget_is_what_the_ledger_says(house: House, caller: tuple[str, Subject]) -> None:
    secret, subject = caller
    cost = each(house, secret)
    limit(house, subject, tokens_per_day=cost + CLAIM)
    view = house.home / f"{subject.tenant}.json"
    for again in (True, False):  # once from the whole log, once from the view and what came after
        rebuilt = load_spending(house.home / "ledger", view)
        assert rebuilt.total(day_of(time.time()), tenant=subject.tenant) == spent(house, subject.tenant)
        if again:
            ask(house, secret)
    with pytest.raises(openai.RateLimitError, match="budget") as refused:
        ask(house, secret)
    assert refused.value.code == "insufficient_quota"
    assert spent(house, subject.tenant) == 2 * cost


def test_a_limit_is_in_force_while_serving_and_gone_when_dropped(house: House, caller: tuple[str, Subject]) -> None:
    secret, subject = caller
    limit(house, subject, tokens_per_day=each(house, secret))
    with pytest.raises(openai.RateLimitError):
        ask(house, secret)
    house.limits.drop(subject)
    time.sleep(FRESH_S)
    assert ask(house, secret).parse().usage.completion_tokens == TOKENS


def test_counters_are_given_back_after_every_kind_of_end(house: House, caller: tuple[str, Subject]) -> None:
    secret, subject = caller
    limit(house, subject, concurrency=1, tokens_per_day=100_000)
    with pytest.raises(openai.BadRequestError):
        ask(house, secret, prompt="x" * 9000, max_tokens=1)
    ask(house, secret)
    counters = house.gateway.limit._counters
    assert isinstance(counters, LocalCounters)
    house.wait_until(lambda: not counters.held)


def money(house: House, tenant: str) -> int:
    return sum(charged_micro(e) for e in house.entries() if isinstance(e, RequestEntry) and e.tenant == tenant)


async def test_a_budget_in_money_is_not_overspent_by_300_requests_at_once(
    house: House, caller: tuple[str, Subject]
) -> None:
    secret, subject = caller
    usage = ask(house, secret).parse().usage
    cost = usage.prompt_tokens * 1000 + usage.completion_tokens * 3000  # millionths: [prices] in conftest
    most = (len(PROMPT) + 2) * 1000 + TOKENS * 3000
    limit(house, subject, money_per_month_micro=cost + 29 * cost + most)  # one was asked already, then 30 fit
    answers = await ask_many(house, secret, 300)
    assert [status for status, _ in answers].count(200) == 30
    assert {body["error"]["code"] for status, body in answers if status != 200} == {"insufficient_quota"}
    spent_micro = money(house, subject.tenant)
    rebuilt = load_spending(house.home / "ledger", house.home / f"{subject.tenant}.json")
    assert rebuilt.spent(day_of(time.time())[:7], tenant=subject.tenant).micro == spent_micro <= 30 * cost + most
    assert spent_micro == sum(
        e.price_micro for e in house.entries() if isinstance(e, RequestEntry) and e.tenant == subject.tenant
    )


def test_the_price_stands_on_the_entry_and_the_budget_in_the_headers(house: House, caller: tuple[str, Subject]) -> None:
    secret, subject = caller
    limit(house, subject, money_per_day_micro=2_000_000)
    answer = ask(house, secret)
    usage, entry = answer.parse().usage, house.entry(answer.headers["x-request-id"])
    fresh = usage.prompt_tokens - entry.cached_tokens
    assert entry.price_micro == fresh * 1000 + entry.cached_tokens * 100 + usage.completion_tokens * 3000
    assert answer.headers["x-tokenworks-budget-limit-money"] == "2.000000 EUR"
    left = (2_000_000 - (len(PROMPT) + 2) * 1000 - TOKENS * 3000) / 1e6
    assert answer.headers["x-tokenworks-budget-remaining-money"] == f"{left:.6f} EUR"
    with pytest.raises(openai.RateLimitError, match=r"2\.000000 EUR a day .* may need 6\.\d+ EUR"):
        ask(house, secret, max_tokens=2000)


def test_a_key_may_be_held_to_a_priority(house: House, caller: tuple[str, Subject]) -> None:
    secret, subject = caller
    limit(house, subject, priority="batch")
    seen: list[str] = []
    place = house.gateway.schedule._places.setdefault("complete@1", Place(1000, most=10))
    enter = place.queue.enter
    place.queue.enter = lambda ticket: seen.append(ticket.priority.name) or enter(ticket)  # type: ignore[method-assign]
    slots, place.queue.slots = place.queue.slots, 1000
    try:
        ask(house, secret, extra_headers={"x-tokenworks-priority": "interactive"})
        ask(house, secret, extra_headers={"x-tokenworks-priority": "flywheel"})
        house.limits.drop(subject)
        time.sleep(FRESH_S)
        ask(house, secret)
    finally:
        place.queue.slots = slots
        del place.queue.enter
    assert seen == ["BATCH", "FLYWHEEL", "INTERACTIVE"]


@pytest.mark.parametrize("ending", ["-canary", "-shadow"])
def test_no_name_that_a_caller_gives_its_requests_makes_them_free(
    house: House, caller: tuple[str, Subject], ending: str
) -> None:
    secret, subject = caller
    limit(house, subject, tokens_per_day=2 * CLAIM)
    given = f"mine-{time.monotonic_ns()}{ending}"
    used = each(house, secret)
    for _ in range(20):
        try:
            used += ask(house, secret, extra_headers={"x-request-id": given}).parse().usage.total_tokens
        except openai.RateLimitError:
            break
    assert used == spent(house, subject.tenant) <= 2 * CLAIM
