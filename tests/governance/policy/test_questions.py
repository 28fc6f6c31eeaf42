"""Time as policies see it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.governance.keys import Principal
from tokenworks.governance.policy.questions import Question, hour_of_week


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_hour_and_weekday_are_those_of_the_calendar_in_utc(at: datetime) -> None:
    question = Question(
        action="search", who=Principal(key_id="k", tenant="t"), hour_of_week=hour_of_week(at.timestamp())
    )
    assert (question.hour, question.weekday) == (at.hour, at.isoweekday())


@pytest.mark.parametrize(("text", "weekday"), [("2026-11-21", 6), ("2026-11-23", 1), ("2026-11-22", 7)])
def test_days_are_counted_from_monday(text: str, weekday: int) -> None:
    at = datetime.fromisoformat(f"{text}T23:59:59+00:00").timestamp()
    assert hour_of_week(at) == (weekday - 1) * 24 + 23
