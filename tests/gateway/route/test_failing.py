"""What a server elsewhere says of when to come back, whatever it says."""

from __future__ import annotations

import pytest

from tokenworks.gateway.route.failing import retry_after_s
from tokenworks.serving.answer import EngineAnswer


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("3", 3.0), ("9" * 5000, None), ("soon", None), ("", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
def test_a_time_to_come_back_is_read_or_left(said: str, seconds: float | None) -> None:
    assert retry_after_s(EngineAnswer(status=503, body=b"", headers=(("retry-after", said),))) == seconds
