"""Cutting streams into events wherever their chunks were split."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.gateway.sse import DONE, Splitter, payload

lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)
events = st.lists(lines.map(lambda text: f"data: {text}\n\n".encode()), max_size=8)


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(stream) + 1) for place in at), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(places)]


@given(events=events, at=st.lists(st.integers(0, 10_000), max_size=12))
def test_events_are_the_same_wherever_the_stream_was_split(events: list[bytes], at: list[int]) -> None:
    splitter = Splitter()
    found = [event for chunk in cut(b"".join(events), at) for event in splitter.feed(chunk)]
    assert found == events
    assert splitter.rest == b""


@given(events=events, at=st.lists(st.integers(0, 10_000), max_size=12), end=st.sampled_from([b"\r\n", b"\r", b"\n"]))
def test_every_line_end_of_the_standard_is_understood(events: list[bytes], at: list[int], end: bytes) -> None:
    stream = b"".join(events).replace(b"\n", end)
    splitter = Splitter()
    found = [event for chunk in cut(stream, at) for event in splitter.feed(chunk)]
    if end == b"\r" and events:
        found += splitter.feed(b"\n")  # a final CR may be half of a CRLF: it waits for what follows
    assert [event for event in found if event.strip()] == events


@given(events=events)
def test_one_byte_at_a_time_is_a_split_like_any(events: list[bytes]) -> None:
    splitter = Splitter()
    stream = b"".join(events)
    assert [event for place in range(len(stream)) for event in splitter.feed(stream[place : place + 1])] == events


def test_half_an_event_waits() -> None:
    splitter = Splitter()
    assert splitter.feed(b'data: {"a":') == []
    assert splitter.feed(b"1}\n\ndata: [DO") == [b'data: {"a":1}\n\n']
    assert splitter.feed(b"NE]\n\n") == [DONE]


def test_an_event_without_end_is_refused() -> None:
    splitter = Splitter(max_event_bytes=100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        splitter.feed(b"x" * 101)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b'data: {"a":1}\n\n', b'{"a":1}'),
        (b"data:x\n\n", b"x"),
        (b": comment\ndata: x\n\n", b"x"),
        (b"event: e\nid: 7\ndata: x\n\n", b"x"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b": only a comment\n\n", b""),
    ],
)
def test_the_data_of_an_event_is_what_the_standard_says(event: bytes, data: bytes) -> None:
    assert payload(event) == data


def test_what_a_piece_costs_does_not_grow_with_the_event_that_it_is_of() -> None:
    def seconds(before: bytes) -> float:
        splitter = Splitter()
        splitter.feed(before)
        began = time.perf_counter()
        for _ in range(2000):
            assert splitter.feed(b"data: x\n") == []
        return time.perf_counter() - began

    assert seconds(b"data: " + b"x" * (8 << 20)) < 200 * min(seconds(b"") for _ in range(3))
