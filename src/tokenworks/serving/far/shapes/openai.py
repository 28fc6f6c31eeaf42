"""OpenAI's own words, for every server that speaks them: its own name for the model, and no extension of vLLM's."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenworks.serving.answer import EngineCall
from tokenworks.serving.far.server import Letter, Retold, Site, fields_of


def speak(site: Site) -> OpenAi:
    """Return the shape for one server."""
    headers = (("authorization", f"Bearer {site.key}"),) if site.key else ()
    return OpenAi(site, headers)


class OpenAi:
    """Passes requests and answers on nearly as they are."""

    def __init__(self, site: Site, headers: tuple[tuple[str, str], ...]) -> None:
        self._site = site
        self._headers = headers

    def ask(self, call: EngineCall) -> Letter:
        """Return the request."""
        return Letter(path=call.path, body=msgspec.json.encode(plain(call, self._site.model)), headers=self._headers)

    def answer(self, status: int, body: bytes) -> bytes:
        """Return the answer as it came."""
        return body

    def retell(self) -> Retold | None:
        """Return nothing: the stream is in OpenAI's words."""
        return None


def plain(call: EngineCall, model: str) -> dict[str, Any]:
    """Return the fields of a request as a strict OpenAI server takes them."""
    fields = fields_of(call)
    if model:
        fields["model"] = model
    if "stream_options" in fields:
        options = msgspec.json.decode(fields["stream_options"]) or {}
        options.pop("continuous_usage_stats", None)
        fields["stream_options"] = options
    return fields
