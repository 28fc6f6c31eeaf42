"""Server-sent events, where the gateway has always found them."""

from __future__ import annotations

from tokenworks.core.sse import DONE, Splitter, payload

__all__ = ["DONE", "Splitter", "payload"]
