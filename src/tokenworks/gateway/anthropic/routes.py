"""Which paths of Anthropic's API are answered by what."""

from __future__ import annotations

from tokenworks.gateway.anthropic.messages import CountTokens, Messages
from tokenworks.gateway.exchange import Handle, Routes
from tokenworks.gateway.translate import translated


def messages_face(tokens: Handle) -> Routes:
    """Return the routes, in front of `tokens`."""
    return {
        ("POST", "/v1/messages"): ("chat.completions", translated(tokens, Messages)),
        ("POST", "/v1/messages/count_tokens"): ("tokenize", translated(tokens, CountTokens)),
    }
