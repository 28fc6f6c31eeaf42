"""OpenAI's words at Azure: a path with the deployment in it, a version, and a header of its own for the key.

Source: Azure OpenAI in Foundry Models, data plane inference reference.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.serving.answer import EngineCall
from tokenworks.serving.far.server import Letter, Site
from tokenworks.serving.far.shapes.openai import OpenAi, plain

VERSION = "2024-10-21"  # the last dated one that is generally available


def speak(site: Site) -> Azure:
    """Return the shape for one resource; the model is the name of a deployment."""
    if not site.model:
        raise ConfigError(f"engines.remotes {site.name!r}: azure needs `model`, the name of the deployment")
    return Azure(site)


class Azure(OpenAi):
    """As OpenAI, with another address and another key header."""

    def __init__(self, site: Site) -> None:
        super().__init__(site, (("api-key", site.key),) if site.key else ())
        self._deployment = f"/openai/deployments/{quote(site.model, safe='')}"
        self._version = quote(site.api_version or VERSION, safe="")

    def ask(self, call: EngineCall) -> Letter:
        """Return the request."""
        path = f"{self._deployment}{call.path.removeprefix('/v1')}?api-version={self._version}"
        return Letter(path=path, body=msgspec.json.encode(plain(call, "")), headers=self._headers)
