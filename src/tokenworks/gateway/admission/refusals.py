"""What is said to those who get no answer in time."""

from __future__ import annotations

import math
import random

from tokenworks.gateway.errors import ApiError

JITTER = 0.25  # those refused together come back spread over so much more of their wait
SHORTEST_S = 0.1


def no_turn(wait_s: float) -> ApiError:
    """Return the 503 for a request that would wait `wait_s` seconds: the work that waits, by the rate it is done."""
    again_s = max(wait_s, SHORTEST_S) * random.uniform(1.0, 1.0 + JITTER)
    message = (
        f"the engine is full: {wait_s:.1f} s of work wait before this request, so it would miss its deadline; "
        "ask again after retry-after, or give it longer with x-tokenworks-deadline-ms"
    )
    headers = (("retry-after", str(math.ceil(again_s))), ("retry-after-ms", str(math.ceil(again_s * 1000))))
    return ApiError(503, message, code="overloaded", kind="server_error", headers=headers)


def cut_off(cut_s: float | None, started_s: float) -> ApiError:
    """Return the 504 for an answer that was not complete at its deadline."""
    assert cut_s is not None, "what has no deadline is not cut off"
    message = (
        f"the answer was not complete after {cut_s - started_s:g} s, its deadline; the engine was stopped. "
        "Ask for less with max_tokens, or give it longer"
    )
    headers = (("x-should-retry", "false"),)  # the time that it was for is over
    return ApiError(504, message, code="deadline_exceeded", kind="server_error", headers=headers)
