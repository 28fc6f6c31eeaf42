"""Spans of an engine: what a request went through, below the span of whoever sent it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, get_current_span

from tokenworks.metering.attribution.timeline import Timeline
from tokenworks.serving.app import EngineApp
from tokenworks.serving.engine import Engine, Options
from tokenworks.serving.engines import encoder, openvino, transformers
from tokenworks.serving.tracing.spans import EngineTraces

TRACE, CALL = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
SAMPLED = f"00-{TRACE:032x}-{CALL:016x}-01"
MOMENTS = ["queue", "prefill", "decode"]


class Site:
    """An engine's application, asked over ASGI, and the spans that it made."""

    def __init__(self, engine: Engine) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.engine = engine
        self.app = EngineApp(engine, "tiny@1", traces=EngineTraces(provider, "tiny@1", "some"))

    async def ask(self, path: str = "/v1/completions", *, trace: str = SAMPLED, leave: int = 0, **fields: Any) -> int:
        """Return the status; with `leave` the client goes after so many writes."""
        sent: list[Any] = []
        left = asyncio.Event()
        body = iter([{"type": "http.request", "body": json.dumps(fields).encode(), "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in body:
                return message
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == leave:
                left.set()

        headers = [(b"traceparent", trace.encode())] if trace else []
        await self.app({"type": "http", "path": path, "method": "POST", "headers": headers}, receive, send)
        return sent[0]["status"] if sent else 0

    def spans(self) -> list[ReadableSpan]:
        """Return the spans so far, the last that ended first, and forget them."""
        found = list(self._exporter.get_finished_spans())[::-1]
        self._exporter.clear()
        return found

    def trace(self) -> tuple[ReadableSpan, dict[str, ReadableSpan]]:
        """Return the span of the only request, and what is below it by name."""
        root, *below = self.spans()
        assert {span.parent.span_id for span in below} <= {root.context.span_id}
        return root, {span.name: span for span in reversed(below)}


def opened(load: Callable[[Path, Options], Engine], folder: Path, cache: str = "") -> Engine:
    return load(folder, Options(threads=1, precision="f32", cache=cache))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(params=["openvino", "transformers"])
async def site(request: pytest.FixtureRequest, tiny_llama: Path, cache: str) -> AsyncIterator[Site]:
    needed = {"openvino": ("openvino_genai", openvino), "transformers": ("torch", transformers)}
    library, module = needed[request.param]
    pytest.importorskip(library)
    made = Site(opened(module.load, tiny_llama, cache))
    yield made
    await made.engine.close()


async def test_a_request_shows_its_wait_its_prompt_and_its_answer_below_the_callers_span(site: Site) -> None:
    assert await site.ask(prompt="the for statement", max_tokens=12, ignore_eos=True) == 200
    root, below = site.trace()
    assert (root.name, root.kind) == ("text_completion tiny@1", SpanKind.SERVER)
    assert (root.context.trace_id, root.parent.span_id) == (TRACE, CALL)
    assert list(below) == MOMENTS
    queue, prefill, decode = below.values()
    assert root.start_time == queue.start_time <= queue.end_time == prefill.start_time
    assert prefill.start_time < prefill.end_time == decode.start_time < decode.end_time <= root.end_time
    prompt_tokens = site.engine.count_tokens("the for statement")
    assert prefill.attributes == {
        "gen_ai.usage.input_tokens": prompt_tokens,
        "tokenworks.steps": 1,
        "tokenworks.batch.mean": 1.0,
    }
    assert decode.attributes["gen_ai.usage.output_tokens"] == 12
    assert decode.attributes["tokenworks.steps"] == 11
    assert root.attributes["gen_ai.usage.input_tokens"] == prompt_tokens
    assert root.attributes["gen_ai.usage.output_tokens"] == 12
    took_s = (decode.end_time - prefill.start_time) / 1e9
    assert 0 < root.attributes["tokenworks.engine_s"] <= took_s
    assert "tokenworks.joules" not in root.attributes  # nobody meters here


async def test_requests_that_run_together_say_how_many_they_were(site: Site) -> None:
    asked = [site.ask(prompt="a for statement", max_tokens=40, ignore_eos=True) for _ in range(3)]
    await asyncio.gather(*asked, site.ask(prompt="nobody traces this", max_tokens=40, ignore_eos=True, trace=""))
    decodes = [span for span in site.spans() if span.name == "decode"]
    assert len(decodes) == 3
    assert all(2.5 < span.attributes["tokenworks.batch.mean"] <= 4.0 for span in decodes)


async def test_several_answers_to_one_request_are_one_span_of_each_kind(site: Site) -> None:
    assert await site.ask(prompt="the for statement", n=3, max_tokens=5, ignore_eos=True) == 200
    root, below = site.trace()
    assert list(below) == MOMENTS
    assert root.attributes["gen_ai.usage.output_tokens"] == 15
    assert below["decode"].attributes["tokenworks.batch.mean"] > 1.0


async def test_a_caller_who_leaves_is_seen_in_the_midst_of_the_answer(site: Site) -> None:
    await site.ask(prompt="the", max_tokens=200, ignore_eos=True, stream=True, leave=3)
    root, below = site.trace()
    assert root.attributes["error.type"] == "cancelled"
    assert list(below) == MOMENTS
    assert 0 < root.attributes["gen_ai.usage.output_tokens"] < 200
    assert root.attributes["tokenworks.engine_s"] > 0


async def test_what_is_refused_says_why_and_waits_for_nothing(site: Site) -> None:
    assert await site.ask(prompt="") == 400
    root, below = site.trace()
    assert root.attributes["error.type"] == "400"
    assert below == {}


@pytest.mark.parametrize("trace", ["", SAMPLED[:-1] + "0", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_who_is_not_traced_makes_no_span(site: Site, trace: str) -> None:
    assert await site.ask(prompt="the", max_tokens=3, trace=trace) == 200
    assert site.spans() == []


async def test_no_text_is_told(site: Site) -> None:
    await site.ask(prompt="the password is marmalade", max_tokens=5)
    await site.ask(prompt="marmalade", max_tokens=5, stop=[""])
    assert "marmalade" not in "".join(span.to_json() for span in site.spans())


async def test_a_prompt_that_finds_no_room_in_the_step_waits_in_the_queue(make_llama: Callable[..., Path]) -> None:
    pytest.importorskip("openvino_genai")
    site = Site(opened(openvino.load, make_llama(max_position_embeddings=2048)))
    prompts = [f"{word} for statement" + " the for statement" * 199 for word in ("one", "two")]
    assert 2 < site.engine.count_tokens(prompts[0]) / openvino.STEP_TOKENS < 2.9
    await asyncio.gather(*(site.ask(prompt=prompt, max_tokens=20, ignore_eos=True) for prompt in prompts))
    spans = site.spans()
    first, second = sorted((span for span in spans if span.name == "prefill"), key=lambda span: span.start_time)
    waited = max((span for span in spans if span.name == "queue"), key=lambda span: span.end_time)
    assert first.attributes["tokenworks.steps"] == 3
    assert first.attributes["tokenworks.batch.mean"] == pytest.approx(4 / 3)  # in the third there was room for both
    assert second.attributes["tokenworks.batch.mean"] == 2.0
    assert first.start_time < second.start_time == waited.end_time < first.end_time
    await site.engine.close()


async def test_an_encoder_shows_its_wait_and_its_round(tiny_bert: Path) -> None:
    site = Site(opened(encoder.load, tiny_bert))
    assert await site.ask("/v1/embeddings", input=["a text", "another one"]) == 200
    root, below = site.trace()
    assert root.name == "embeddings tiny@1"
    assert list(below) == ["queue", "encode"]
    assert below["encode"].attributes["gen_ai.usage.input_tokens"] > 2
    assert below["encode"].attributes["tokenworks.batch.mean"] == 1.0
    assert root.attributes["tokenworks.engine_s"] > 0
    await site.engine.close()


def test_moments_of_several_answers_are_the_first_that_began_and_the_last_that_was_read() -> None:
    timeline = Timeline(clock=lambda: 10.0)
    for taken_s, read_s in ((12.0, 13.0), (12.5, 14.0), (12.7, 13.5)):
        timeline.taken(taken_s)
        timeline.read(read_s)
    assert (timeline.arrived_s, timeline.taken_s, timeline.read_s) == (10.0, 12.0, 14.0)


@given(st.one_of(st.binary(max_size=80), st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.{0,3}")))
def test_whatever_is_sent_as_a_parent_is_a_trace_of_its_own_or_none(given_header: bytes) -> None:
    traces = EngineTraces(TracerProvider(), "tiny@1", "some")
    traced = traces.begin({"path": "/v1/completions", "headers": [(b"traceparent", given_header)]})
    if traced is not None:
        context = get_current_span(traced.parent).get_span_context()
        assert f"{context.trace_id:032x}-{context.span_id:016x}".encode() in given_header
