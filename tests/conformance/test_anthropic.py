"""Anthropic's official Python client, synchronous and asynchronous, and its own exceptions, retries and timeouts."""

from __future__ import annotations

import asyncio

import anthropic
import pytest

from conformance.asking import Entered, done, each, everything
from conformance.served import ROOM

pytestmark = [pytest.mark.xdist_group("conformance"), pytest.mark.timeout(120)]
USER = [{"role": "user", "content": "a card was lost"}]
GREEDY = {"temperature": 0}
CLIENTS = {"anthropic-sync": anthropic.Anthropic, "anthropic-async": anthropic.AsyncAnthropic}
on = pytest.mark.conforms


@pytest.fixture(params=CLIENTS)
async def client(request, served):
    made = CLIENTS[request.param](base_url=served.url, api_key=served.key, max_retries=0, timeout=60)
    yield made
    await done(made.close())


async def ask(client, model, *, calls=None, **more):
    calls = calls or client.messages
    return await done(calls.create(**{"model": model, "messages": USER, "max_tokens": 8, "extra_body": GREEDY, **more}))


@on("messages")
async def test_a_message_is_answered(served, client):
    said = await ask(client, served.writer, system="be brief")
    assert (said.type, said.role, said.content[0].type) == ("message", "assistant", "text")
    assert said.content[0].text
    assert said.stop_reason in ("max_tokens", "end_turn")
    assert said.usage.output_tokens <= 8


@on("messages")
async def test_the_events_of_a_message_come_in_their_order(served, client):
    whole = await ask(client, served.writer)
    events = await everything(await ask(client, served.writer, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    said = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    assert said == whole.content[0].text
    assert events[-2].usage.output_tokens == whole.usage.output_tokens


@on("messages")
async def test_the_helper_for_streams_gathers_the_same_message(served, client):
    whole = await ask(client, served.writer)
    asked = {"model": served.writer, "messages": USER, "max_tokens": 8, "extra_body": GREEDY}
    async with Entered(client.messages.stream(**asked)) as stream:
        text = "".join(await everything(stream.text_stream))
        final = await done(stream.get_final_message())
    assert text == final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason


@on("messages")
async def test_stop_sequences_end_a_message(served, client):
    text = (await ask(client, served.writer)).content[0].text
    stop = text[len(text) // 2 :][:2]
    said = await ask(client, served.writer, stop_sequences=[stop])
    assert (said.stop_reason, said.stop_sequence) == ("stop_sequence", stop)
    assert text.startswith(said.content[0].text)


@on("count tokens")
async def test_tokens_are_counted_as_they_are_charged(served, client):
    counted = await done(client.messages.count_tokens(model=served.writer, messages=USER, system="be brief"))
    used = (await ask(client, served.writer, system="be brief")).usage
    assert counted.input_tokens == used.input_tokens + used.cache_read_input_tokens > 0


@on("errors")
async def test_each_refusal_is_its_own_exception(served, client):
    narrow = served.new_key("narrow", scopes=["search"])
    wrong = client.with_options(api_key="tw-wrong")
    cases = [
        (client, served.writer, {"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error"),
        (client, served.writer, {"extra_body": {"colour": 1}}, anthropic.BadRequestError, "invalid_request_error"),
        (client, "nothing", {}, anthropic.NotFoundError, "not_found_error"),
        (wrong, served.writer, {}, anthropic.AuthenticationError, "authentication_error"),
        (client.with_options(api_key=narrow), served.writer, {}, anthropic.PermissionDeniedError, "permission_error"),
    ]  # fmt: skip
    for asker, model, more, kind, told in cases:
        with pytest.raises(kind) as raised:
            await ask(asker, model, **more)
        assert raised.value.body["error"]["type"] == told
        assert raised.value.request_id


@on("retries")
async def test_a_full_house_is_asked_again(served, client, request):
    tenant = f"full-{request.node.callspec.id}"
    asker = client.with_options(api_key=served.key_of(tenant), max_retries=2)
    await ask(asker, served.writer)
    with served.still():
        held = [asyncio.create_task(in_task(asker, served.writer)) for _ in range(ROOM)]
        await asyncio.to_thread(served.until_in_flight, ROOM)
        with pytest.raises(anthropic.InternalServerError) as refused:
            await ask(asker.with_options(max_retries=0), served.writer)
        assert refused.value.body["error"]["type"] in ("overloaded_error", "api_error")
        waiting = asyncio.create_task(in_task(asker, served.writer, raw=True))
        await served.seen(tenant, status=503, count=2)
    assert (await waiting).retries_taken == 1
    await asyncio.gather(*held)
    assert sorted(one.status for one in served.of_tenant(tenant, ROOM + 4)) == [200] * (ROOM + 2) + [503] * 2


@on("timeouts")
async def test_who_waits_no_longer_gets_a_timeout_and_the_ledger_a_cancelled_request(served, client, request):
    tenant = f"impatient-{request.node.callspec.id}"
    asker = client.with_options(api_key=served.key_of(tenant), timeout=0.3)
    await ask(asker.with_options(timeout=60), served.writer)
    with served.still():
        with pytest.raises(anthropic.APITimeoutError):
            await ask(asker, served.writer)
        assert sorted(one.outcome for one in served.of_tenant(tenant, 2)) == ["cancelled", "ok"]


@on("cancellation")
async def test_a_stream_that_is_closed_is_written_down_as_far_as_it_was_read(served, client, request):
    tenant = f"hangs-up-{request.node.callspec.id}"
    asker = client.with_options(api_key=served.key_of(tenant))
    stream = await ask(asker, served.writer, stream=True, max_tokens=6000, extra_body={"temperature": 0})
    async for event in each(stream):
        if event.type == "content_block_delta":
            break
    await done(stream.close())
    [entry] = served.of_tenant(tenant, 1)
    assert (entry.face, entry.outcome) == ("messages", "cancelled")
    assert 0 < entry.completion_tokens < 6000


async def in_task(client, model, *, raw=False):
    """Ask beside the test, in a thread where the client blocks."""
    calls = client.messages.with_raw_response if raw else client.messages
    if isinstance(client, anthropic.AsyncAnthropic):
        return await ask(client, model, calls=calls)
    return await asyncio.to_thread(lambda: asyncio.run(ask(client, model, calls=calls)))
