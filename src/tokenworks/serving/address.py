"""Where an engine listens: host, port and what has to be said to be let in. Knows nothing of processes."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from tokenworks.core.errors import ConfigError


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One OpenAI-compatible server. `model` is the name it knows the model by, empty: it takes any."""

    host: str
    port: int
    tls: bool = False
    prefix: str = ""  # what stands before /v1 in its paths
    key: str = ""
    model: str = ""

    @property
    def netloc(self) -> str:
        """`host:port`, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(url: str, *, key: str = "", model: str = "") -> Address:
    """Return the address named by `url`, with or without a trailing `/v1`; raise `ConfigError` naming what is wrong."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ConfigError(f"engine address {url!r}: {error}; write it like https://host:8000/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"engine address {url!r} is not an http(s) URL; write it like https://host:8000/v1")
    if parts.username or parts.query or parts.fragment:
        raise ConfigError(
            f"engine address for host {parts.hostname!r} may hold no user, query or fragment; a key has its own setting"
        )
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    return Address(host=parts.hostname, port=port, tls=parts.scheme == "https", prefix=prefix, key=key, model=model)
