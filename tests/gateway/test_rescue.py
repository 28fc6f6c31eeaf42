"""Nobody pays for a canary: how it may fail, who answers then, and what is written down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest

from tokenworks.core.errors import EngineError
from tokenworks.core.label import Label
from tokenworks.gateway.errors import ApiError, bad_request, engine_failed
from tokenworks.gateway.exchange import Exchange, Reply, whole
from tokenworks.gateway.layers.rescue import Rescue
from tokenworks.gateway.metrics import Metrics
from tokenworks.gateway.notes import Notes
from tokenworks.gateway.served import Served
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.writer import Ledger

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Reply(status=200, body=b"by the incumbent")


class Stream:
    """Chunks, then the end or an error."""

    def __init__(self, *chunks: bytes, error: Exception | None = None) -> None:
        self.chunks, self.error, self.closed = list(chunks), error, False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.chunks:
            return self.chunks.pop(0)
        raise self.error or StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


class Rescued:
    """A canary that does what a test says, beside an incumbent."""

    def __init__(self, root: Path) -> None:
        self.root, self.asked = root, []
        self.ledger, self.metrics = Ledger(root, "test", segment_bytes=1 << 16), Metrics()
        self.rescue = Rescue(Notes(self.ledger, bodies=None, find=lambda *_: None), self.metrics)

    async def ask(self, canary: Callable[[], Reply], incumbent: Callable[[], Reply] = lambda: GOOD, broken: str = ""):
        served = Served(ref="m@1", label="confidential", kind="chat")
        self.exchange = Exchange(
            endpoint="chat", read=whole(b""), request_id="req-12345678", version="m@2", arm="canary", instead=served,
            label=Label.INTERNAL, broken=broken,
        )  # fmt: skip

        async def engines(exchange: Exchange) -> Reply:
            self.asked.append(exchange.version)
            return canary() if exchange.version == "m@2" else incumbent()

        return await self.rescue(self.exchange, engines)

    def failures(self) -> list[tuple[str, str, str, int, str]]:
        found = [entry for _, entry in read(self.root) if isinstance(entry, RequestEntry)]
        return [(one.request_id, one.arm, one.outcome, one.status, one.error) for one in found]


@pytest.fixture
def rescued(tmp_path: Path):
    made = Rescued(tmp_path / "ledger")
    yield made
    made.ledger.close()


def raising(error: Exception) -> Callable[[], Reply]:
    def fail() -> Reply:
        raise error

    return fail


async def test_a_canary_that_answers_is_left_alone(rescued):
    reply = await rescued.ask(lambda: Reply(status=200, body=b"by the canary"))
    assert (reply.body, rescued.asked, rescued.failures()) == (b"by the canary", ["m@2"], [])
    assert (rescued.exchange.arm, rescued.exchange.version) == ("canary", "m@2")


@pytest.mark.parametrize(
    ("canary", "status", "code"),
    [
        (raising(engine_failed("it broke")), 502, "engine_error"),
        (raising(EngineError("it is gone")), 502, "it is gone"),
        (lambda: Reply(status=500, body=b"{}"), 500, "engine_error"),
        (lambda: Reply(status=200, body=Stream(error=EngineError("no first byte"))), 502, "no first byte"),
        (lambda: Reply(status=404, body=b"{}"), 404, "engine_error"),
        (raising(bad_request("too long", param="prompt")), 400, "invalid_value"),
    ],
)
async def test_where_the_canary_fails_the_incumbent_answers_and_the_failure_is_on_record(rescued, canary, status, code):
    reply = await rescued.ask(canary)
    assert (reply, rescued.asked) == (GOOD, ["m@2", "m@1"])
    assert (rescued.exchange.version, rescued.exchange.arm) == ("m@1", "")
    assert rescued.exchange.label is Label.CONFIDENTIAL
    assert rescued.failures() == [("req-12345678-canary", "canary", "failed", status, code)]
    assert b'outcome="failed"' in rescued.metrics.text({})


async def test_a_request_that_both_refuse_is_the_callers_fault_and_no_failure(rescued):
    refused = Reply(status=400, body=b"the prompt is too long")
    assert await rescued.ask(lambda: refused, lambda: refused) == refused
    with pytest.raises(ApiError, match="too long"):
        await rescued.ask(raising(bad_request("too long", param="prompt")), raising(bad_request("too long", param="p")))
    assert rescued.failures() == []


async def test_a_canary_whose_engine_does_not_start_is_not_asked_and_counted(rescued):
    assert await rescued.ask(raising(AssertionError()), broken="no memory") == GOOD
    assert rescued.asked == ["m@1"]
    assert [failure[3:] for failure in rescued.failures()] == [(503, "engine_not_started")]


async def test_after_the_first_byte_it_is_too_late_and_the_error_is_the_users(rescued):
    stream = Stream(b"first", b"second", error=EngineError("broke off"))
    reply = await rescued.ask(lambda: Reply(status=200, body=stream))
    assert [await anext(reply.body), await anext(reply.body)] == [b"first", b"second"]
    with pytest.raises(EngineError, match="broke off"):
        await anext(reply.body)
    await reply.body.aclose()
    assert stream.closed
    assert (rescued.asked, rescued.failures(), rescued.exchange.arm) == (["m@2"], [], "canary")


async def test_an_empty_stream_is_an_answer(rescued):
    reply = await rescued.ask(lambda: Reply(status=200, body=Stream()))
    assert [chunk async for chunk in reply.body] == []
