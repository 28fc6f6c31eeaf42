"""What is kept of a response besides its texts, which lie with those of all requests, under the request's id."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from tokenworks.core.ids import sha256_hex

KIND = "response"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A response in the catalog."""

    request_id: str
    label: str
    outgoing: str = "restricted"  # what all of it counts as where it would leave
    digest: str = ""  # of the response's id, prompt and answer: a request's id alone may be another caller's too
    instructed: bool = False  # whether the first message of the chat is the instructions
    previous_response_id: str | None = None
    background: bool = False
    status: str = ""  # queued | in_progress | failed | cancelled | deleted; empty where the answer says it
    error: dict[str, str] | None = None
    accepted_as: str = ""  # the request that the caller made, where the answer is that of another one, made later


class KeptTexts(Protocol):
    """Prompts and answers beside the log, by request."""

    def get(self, request: str) -> tuple[bytes, bytes] | None:
        """Return both, None where they were never kept, or are gone."""
        ...

    def erase_requests(self, requests: Any) -> Any:
        """Forget both."""
        ...


def digest_of(id: str, prompt: bytes, answer: bytes) -> str:
    """Return what tells the texts of response `id` from others."""
    return sha256_hex(b"\0".join((id.encode(), prompt, answer)))
