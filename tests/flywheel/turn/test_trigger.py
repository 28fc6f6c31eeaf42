"""When a task turns by itself, and when it had better not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError
from tokenworks.flywheel.turn.trigger import Standing, When, parse_when, reason_to_turn, span_s


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("200 new corrections", When(corrections=200)),
        ("1 new correction", When(corrections=1)),
        ("500 new feedback or 24h", When(feedback=500, every_s=86_400.0)),
        ("every 7d", When(every_s=7 * 86_400.0)),
        ("never", When()),
    ],
)
def test_the_conditions_are_read_as_they_are_written(text, when):
    assert parse_when(text) == when


@pytest.mark.parametrize("text", ["soon", "200 corrections", "", "new corrections", "24 hours"])
def test_a_condition_that_cannot_be_meant_names_the_forms_there_are(text):
    with pytest.raises(ConfigError, match=r"turn\.when: .* is not understood; write \"200 new corrections\""):
        parse_when(text)


def test_a_span_that_is_none_names_its_key():
    assert span_s("1.5h", "turn.canary.longest") == 5400.0
    with pytest.raises(ConfigError, match=r"turn\.canary\.longest is 'ever'"):
        span_s("ever", "turn.canary.longest")


@given(corrections=st.integers(0, 1000), needed=st.integers(1, 1000))
def test_it_turns_from_the_number_of_corrections_on_that_is_named(corrections, needed):
    standing = Standing(corrections=corrections, feedback=corrections, since_s=0.0)
    assert bool(reason_to_turn(When(corrections=needed), standing)) == (corrections >= needed)


def test_time_alone_is_no_reason_where_nothing_new_came_in():
    when = When(every_s=60.0)
    assert not reason_to_turn(when, Standing(corrections=0, feedback=0, since_s=1e6))
    assert "1 new feedback" in reason_to_turn(when, Standing(corrections=0, feedback=1, since_s=1e6))


def test_what_must_be_unlearned_comes_first_whatever_the_conditions_say():
    standing = Standing(corrections=0, feedback=0, since_s=0.0, due="an erasure touched route@3")
    assert reason_to_turn(When(), standing) == "an erasure touched route@3"
