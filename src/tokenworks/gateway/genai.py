"""Names of OpenTelemetry's semantic conventions for generative AI, as traces and figures use them."""

from __future__ import annotations

_OPERATIONS = {"chat.completions": "chat", "completions": "text_completion"}


def operation(endpoint: str) -> str:
    """Return `gen_ai.operation.name` of an endpoint; one that the conventions do not know is called as it is."""
    return _OPERATIONS.get(endpoint, endpoint)
