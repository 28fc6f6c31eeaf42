"""OpenAI's official Python client where something is wrong: its own exceptions, retries, timeouts, and hanging up."""

from __future__ import annotations

import asyncio
import time

import openai
import pytest

from conformance.asking import done, each
from conformance.served import ROOM

pytestmark = [pytest.mark.xdist_group("conformance"), pytest.mark.timeout(120)]
USER = [{"role": "user", "content": "a card was lost"}]
FEW = {"max_tokens": 4, "temperature": 0}
on = pytest.mark.conforms


async def ask(client, model, **more):
    return await done(client.chat.completions.create(model=model, messages=USER, **{**FEW, **more}))


@on("errors")
async def test_each_refusal_is_its_own_exception(served, client):
    narrow = served.new_key("narrow", scopes=["search"])
    cases = [
        (client, served.writer, {"temperature": 9}, openai.BadRequestError, "invalid_value"),
        (client, served.writer, {"n": 1000}, openai.BadRequestError, "invalid_value"),
        (client, served.writer, {"extra_body": {"colour": 1}}, openai.BadRequestError, "unknown_parameter"),
        (client, "nothing", {}, openai.NotFoundError, "model_not_found"),
        (client.with_options(api_key="tw-wrong"), served.writer, {}, openai.AuthenticationError, "invalid_api_key"),
        (client.with_options(api_key=narrow), served.writer, {}, openai.PermissionDeniedError, "missing_scope"),
    ]
    for asker, model, more, kind, code in cases:
        with pytest.raises(kind) as raised:
            await ask(asker, model, **more)
        assert raised.value.code == code
        assert raised.value.request_id
        assert raised.value.message


@on("errors")
async def test_a_body_that_is_too_large_is_refused(served, client):
    with pytest.raises(openai.APIStatusError) as raised:
        await done(client.embeddings.create(model=served.embedder, input="x" * 17_000_000))
    assert (raised.value.status_code, raised.value.code) == (413, "body_too_large")


@on("errors")
async def test_nobody_at_the_address_is_a_connection_error(client):
    with pytest.raises(openai.APIConnectionError):
        await done(client.with_options(base_url="http://127.0.0.1:9/v1").models.list())


@on("retries")
async def test_a_429_is_asked_again_after_the_time_it_names(served, client, request):
    tenant = f"one-at-a-time-{request.node.callspec.id}"
    limited = client.with_options(api_key=served.key_of(tenant, concurrency=1, requests_per_minute=1000))
    await in_force(limited, served.writer)
    before, limited = len(served.of_tenant(tenant)), limited.with_options(max_retries=2)
    with served.still():
        held = asyncio.create_task(in_task(limited, served.writer))
        await under_way(served, 1)
        with pytest.raises(openai.RateLimitError) as refused:
            await ask(limited.with_options(max_retries=0), served.writer)
        assert refused.value.code == "rate_limit_exceeded"
        assert float(refused.value.response.headers["retry-after-ms"]) >= 1000
        waiting = asyncio.create_task(in_task(limited, served.writer, raw=True))
        await served.seen(tenant, status=429, count=2)
        began = time.monotonic()
    raw = await waiting
    assert raw.retries_taken == 1
    assert time.monotonic() - began > 0.5  # it kept to what it was told
    assert raw.parse().choices[0].message.content is not None
    await held
    outcomes = [(one.status, one.outcome) for one in served.of_tenant(tenant, before + 4)[before:]]
    assert sorted(outcomes) == [(200, "ok")] * 2 + [(429, "refused")] * 2


@on("retries")
async def test_a_503_is_asked_again_after_the_time_it_names(served, client, request):
    tenant = f"full-house-{request.node.callspec.id}"
    asker = client.with_options(api_key=served.key_of(tenant), max_retries=2)
    await ask(asker, served.writer)
    with served.still():
        held = [asyncio.create_task(in_task(asker, served.writer)) for _ in range(ROOM)]
        await under_way(served, ROOM)
        with pytest.raises(openai.InternalServerError) as refused:
            await ask(asker.with_options(max_retries=0), served.writer)
        assert (refused.value.status_code, refused.value.code) == (503, "overloaded")
        assert float(refused.value.response.headers["retry-after"]) >= 1
        waiting = asyncio.create_task(in_task(asker, served.writer, raw=True))
        await served.seen(tenant, status=503, count=2)
    assert (await waiting).retries_taken == 1
    await asyncio.gather(*held)
    outcomes = [one.status for one in served.of_tenant(tenant, ROOM + 4)]
    assert sorted(outcomes) == [200] * (ROOM + 2) + [503] * 2


@on("timeouts")
async def test_who_waits_no_longer_gets_a_timeout_and_the_ledger_a_cancelled_request(served, client, request):
    tenant = f"impatient-{request.node.callspec.id}"
    asker = client.with_options(api_key=served.key_of(tenant), timeout=0.3)
    await ask(asker.with_options(timeout=60), served.writer)
    with served.still():
        with pytest.raises(openai.APITimeoutError):
            await ask(asker.with_options(max_retries=1), served.writer)
        entries = served.of_tenant(tenant, 3)  # the request, and its one retry
    assert sorted(one.outcome for one in entries) == ["cancelled", "cancelled", "ok"]


@on("cancellation")
async def test_a_stream_that_is_closed_is_written_down_as_far_as_it_was_read(served, client, request):
    tenant = f"hangs-up-{request.node.callspec.id}"
    asker = client.with_options(api_key=served.key_of(tenant))
    stream = await ask(asker, served.writer, stream=True, max_tokens=6000, extra_body={"ignore_eos": True})
    async for chunk in each(stream):
        assert chunk.choices
        break
    await done(stream.close())
    [entry] = served.of_tenant(tenant, 1)
    assert entry.outcome == "cancelled"
    assert 0 < entry.completion_tokens < 6000


@on("cancellation")
@pytest.mark.parametrize("client", ["openai-async"], indirect=True)  # one that blocks is ended by its timeout alone
async def test_a_cancelled_call_is_written_down_once(served, client):
    asker = client.with_options(api_key=served.key_of("cancels"))
    task = asyncio.create_task(ask(asker, served.writer, max_tokens=6000, extra_body={"ignore_eos": True}))
    await under_way(served, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [entry] = served.of_tenant("cancels", 1)
    assert entry.outcome == "cancelled"


async def in_force(client, model):
    """Ask until the server goes by the limits that were set beside it."""
    while True:
        raw = await done(client.chat.completions.with_raw_response.create(model=model, messages=USER, **FEW))
        if "x-ratelimit-limit-requests" in raw.headers:
            return
        await asyncio.sleep(0.1)


async def in_task(client, model, *, raw=False):
    """Ask beside the test, in a thread where the client blocks."""
    calls = client.chat.completions.with_raw_response if raw else client.chat.completions
    asked = {"model": model, "messages": USER, **FEW}
    if isinstance(client, openai.AsyncOpenAI):
        return await calls.create(**asked)
    return await asyncio.to_thread(lambda: calls.create(**asked))


async def under_way(served, count):
    """Wait until the server has so many requests in flight."""
    await asyncio.to_thread(served.until_in_flight, count)
