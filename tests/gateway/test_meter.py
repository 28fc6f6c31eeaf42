"""Counting tokens in answers that pass by."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import EngineError
from tokenworks.core.usage import Spent, Usage
from tokenworks.gateway.meter import StreamMeter, figures_of, usage_of
from tokenworks.gateway.sse import DONE


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def piece(text: str, **more: object) -> bytes:
    return event(id="c", choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more)


def used(prompt: int, completion: int) -> dict[str, object]:
    details = {"cached_tokens": 1}
    total = prompt + completion
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    return {**counts, "prompt_tokens_details": details}


USED = event(id="c", choices=[], usage=used(3, 7))


def test_the_final_usage_is_taken_and_hidden_from_those_who_did_not_ask() -> None:
    meter = StreamMeter(keep_usage=False)
    assert meter.feed(piece("a") + piece("b") + USED + DONE) == piece("a") + piece("b")
    assert meter.usage == Usage(prompt_tokens=3, cached_tokens=1, completion_tokens=7)
    assert meter.done


def test_the_final_usage_is_shown_to_those_who_asked() -> None:
    meter = StreamMeter(keep_usage=True)
    assert meter.feed(piece("a") + USED + DONE) == piece("a") + USED


@pytest.mark.parametrize("keep", [True, False])
def test_usage_with_each_piece_is_counted_and_taken_out(keep: bool) -> None:
    meter = StreamMeter(keep_usage=keep)
    assert meter.feed(piece("a", usage=used(3, 4))) == piece("a")
    assert meter.usage.completion_tokens == 4
    assert meter.feed(piece("b", usage=used(3, 9))) == piece("b")
    assert meter.usage.completion_tokens == 9


def test_usage_that_stands_elsewhere_in_the_event_is_taken_out_too() -> None:
    odd = event(usage=used(3, 4), id="c", choices=[{"index": 0}])
    assert StreamMeter(keep_usage=False).feed(odd) == event(id="c", choices=[{"index": 0}])


def test_without_any_usage_events_with_text_are_counted() -> None:
    meter = StreamMeter(keep_usage=False)
    meter.feed(piece("") + piece("a") + piece("b") + event(id="c", choices=[{"index": 0, "text": "c"}]))
    assert meter.usage == Usage(completion_tokens=3)


def test_text_that_looks_like_usage_stays_in_the_answer() -> None:
    sly = piece('"usage":{"completion_tokens":999},"usage":{}')
    meter = StreamMeter(keep_usage=False)
    assert meter.feed(sly) == sly
    assert meter.usage.completion_tokens == 1


def test_an_error_event_of_the_engine_breaks_the_stream() -> None:
    with pytest.raises(EngineError, match="out of memory"):
        StreamMeter(keep_usage=False).feed(event(error={"message": "out of memory"}))


def test_nothing_passes_after_the_end() -> None:
    meter = StreamMeter(keep_usage=True)
    assert meter.feed(DONE + piece("late")) == b""


@given(
    texts=st.lists(st.text(max_size=10), max_size=6),
    at=st.lists(st.integers(0, 5000), max_size=10),
    keep=st.booleans(),
    each=st.booleans(),
)
def test_what_passes_and_what_is_counted_do_not_depend_on_the_split(
    texts: list[str], at: list[int], keep: bool, each: bool
) -> None:
    pieces = [piece(text, **({"usage": used(2, n)} if each else {})) for n, text in enumerate(texts)]
    stream = b"".join(pieces) + USED + DONE
    places = [0, *sorted(place % (len(stream) + 1) for place in at), len(stream)]
    meter = StreamMeter(keep_usage=keep)
    passed = b"".join(meter.feed(stream[a:b]) for a, b in itertools.pairwise(places))
    assert passed == b"".join(piece(text) for text in texts) + (USED if keep else b"")
    assert meter.usage.completion_tokens == 7
    assert meter.done


def test_a_whole_answer_states_its_usage() -> None:
    assert usage_of(json.dumps({"choices": [], "usage": used(3, 7)}).encode()).total_tokens == 10
    assert usage_of(b'{"data":[],"usage":{"prompt_tokens":5,"total_tokens":5}}') == Usage(prompt_tokens=5)
    assert usage_of(b'{"data":[]}') == Usage()
    assert usage_of(b'{"usage":{"prompt_tokens":5,"prompt_tokens_details":null}}').prompt_tokens == 5


def test_what_is_no_answer_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="not an OpenAI object"):
        usage_of(b"<html>")


def spent(seconds: float, joules: float | None = None) -> dict[str, object]:
    metered = {} if joules is None else {"joules": joules, "joules_error": 0.1, "meter": "rapl"}
    return {**used(3, 4), "spent": {"engine_s": seconds, **metered}}


def test_what_a_whole_answer_took_is_read_from_its_usage() -> None:
    body = json.dumps({"choices": [], "usage": spent(0.5, 12.0)}).encode()
    assert figures_of(body)[1] == Spent(engine_s=0.5, joules=12.0, joules_error=0.1, meter="rapl")
    assert figures_of(b'{"data":[]}') == (Usage(), Spent())


def test_of_a_stream_the_last_figure_counts_and_is_there_before_its_end() -> None:
    meter = StreamMeter(keep_usage=False)
    assert meter.spent == Spent()
    meter.feed(piece("a", usage=spent(0.1, 1.0)))
    meter.feed(piece("b", usage=spent(0.2, 2.0)))
    assert meter.spent.joules == 2.0


def test_what_two_engines_took_of_one_stream_is_added_up() -> None:
    meter = StreamMeter(keep_usage=False)
    meter.feed(piece("a", usage=spent(0.2, 2.0)))
    meter.taken_up()
    assert meter.spent.engine_s == 0.2
    meter.feed(piece("b", usage=spent(0.3, 4.0)))
    assert meter.spent == Spent(engine_s=0.5, joules=6.0, joules_error=pytest.approx(0.1), meter="rapl")


def test_where_one_of_two_engines_was_not_metered_the_sum_is_not_known() -> None:
    meter = StreamMeter(keep_usage=False)
    meter.feed(piece("a", usage=spent(0.2, 2.0)))
    meter.taken_up()
    meter.feed(piece("b", usage=spent(0.3)))
    assert (meter.spent.engine_s, meter.spent.joules) == (0.5, None)


def test_what_a_stranger_calls_spent_breaks_nothing() -> None:
    body = b'{"choices":[],"usage":{"prompt_tokens":5,"spent":["anything"]}}'
    assert usage_of(body).prompt_tokens == 5


@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens"])
@pytest.mark.parametrize("said", [-1, 10**9 + 1])
def test_tokens_that_nobody_can_have_made_are_no_usage(field: str, said: int) -> None:
    """Below nothing they would be credit, for budgets and bills alike."""
    body = json.dumps({"choices": [], "usage": {**used(3, 7), field: said}}).encode()
    with pytest.raises(EngineError, match=rf"at `\$.usage.{field}`"):
        usage_of(body)
    meter = StreamMeter(keep_usage=False)
    meter.feed(piece("a") + piece("b", usage={**used(3, 7), field: said}))
    assert meter.usage == Usage(completion_tokens=2)
