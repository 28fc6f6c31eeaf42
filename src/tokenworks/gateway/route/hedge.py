"""A second engine for short requests that take unusually long, within a budget (Dean 2013, The Tail at Scale)."""

from __future__ import annotations

from collections import deque

from tokenworks.gateway.exchange import Exchange

SHORT_TOKENS = 32
ENOUGH = 50  # answers seen before anything is called unusual
SEEN = 400
EVERY = 25  # answers between two looks at what is usual
SAVED = 5.0  # requests that may be asked twice in a row, after a quiet time


class Hedge:
    """Says when a request may be asked a second time: `percent` of them at most, after the 95th percentile."""

    def __init__(self, percent: float) -> None:
        self._share = percent / 100
        self._credit = 0.0
        self._latencies: dict[str, deque[float]] = {}
        self._usual_s: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def after_s(self, exchange: Exchange) -> float | None:
        """Return after how many seconds a second engine may be asked; None: never."""
        if not self._share or not hedgeable(exchange):
            return None
        self._credit = min(SAVED, self._credit + self._share)
        return self._usual_s.get(_kind(exchange))

    def take(self) -> bool:
        """Return whether the budget has room for one more."""
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True

    def took(self, exchange: Exchange, latency_s: float) -> None:
        """Take in how long an answer was in coming."""
        kind = _kind(exchange)
        seen = self._latencies.setdefault(kind, deque(maxlen=SEEN))
        seen.append(latency_s)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if len(seen) >= ENOUGH and self._counts[kind] % EVERY == 0:
            self._usual_s[kind] = sorted(seen)[int(0.95 * len(seen))]


def hedgeable(exchange: Exchange) -> bool:
    """Return whether asking twice changes nothing and costs little: no stream, and a short answer or none."""
    size = exchange.what.size
    if exchange.what.stream:
        return False
    return exchange.endpoint in ("embeddings", "classify") or (
        size.answers == 1 and size.answer_most is not None and size.answer_most <= SHORT_TOKENS
    )


def _kind(exchange: Exchange) -> str:
    return f"{exchange.endpoint} {exchange.version}"
