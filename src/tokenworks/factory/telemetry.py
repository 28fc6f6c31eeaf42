"""Traces on their way to a collector, where one is configured; without one nothing is loaded and nothing runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from tokenworks.core.errors import ConfigError
from tokenworks.core.version import __version__
from tokenworks.gateway.exchange import Layer
from tokenworks.serving.tracing.export import open_provider
from tokenworks.settings import TelemetrySettings, child_environment


@dataclass(frozen=True)
class Telemetry:
    """How the layers of a request are traced, and how to stop."""

    around: Callable[[Sequence[Layer]], Sequence[Layer]] = list
    stop: Callable[[], None] | None = None

    async def close(self) -> None:
        """Send what is left, in a thread: a collector that is gone delays the end by seconds."""
        if self.stop is not None:
            await asyncio.to_thread(self.stop)


def telemetry(settings: TelemetrySettings) -> Telemetry:
    """Return what `settings` ask for; raise `ConfigError` or, without the extra `otel`, `MissingExtraError`."""
    if not settings.otlp_endpoint:
        return Telemetry()
    endpoint, headers = _endpoint(settings.otlp_endpoint), _headers(settings.otlp_headers)
    if not 0.0 <= settings.sample <= 1.0:
        raise ConfigError(f"telemetry.sample = {settings.sample:g}: a share is 0 to 1")
    provider = open_provider(endpoint, service=settings.service, sample=settings.sample, headers=headers)
    from tokenworks.gateway.tracing import Tracing  # not at the top: it loads OpenTelemetry

    return Telemetry(Tracing(provider.get_tracer("tokenworks", __version__)).around, provider.shutdown)


def engine_traces(settings: TelemetrySettings) -> tuple[str, str]:
    """Return where engine processes send their spans, empty: nowhere, and how they are called there."""
    if not settings.otlp_endpoint:
        return "", ""
    return _endpoint(settings.otlp_endpoint), f"{settings.service}-engine"


def engine_environment(settings: TelemetrySettings) -> Mapping[str, str] | None:
    """Return the environment of engine processes, None: ours; a command line could be read by everybody.

    https://opentelemetry.io/docs/specs/otel/protocol/exporter/#configuration-options
    """
    if not settings.otlp_endpoint or not settings.otlp_headers:
        return None
    pairs = _headers(settings.otlp_headers).items()
    told = ",".join(f"{name}={quote(value)}" for name, value in pairs)
    return child_environment({"OTEL_EXPORTER_OTLP_TRACES_HEADERS": told})


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"telemetry.otlp_endpoint {url!r} is not an http(s) URL; write it like http://host:4318")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}/v1/traces"


def _headers(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise ConfigError('telemetry.otlp_headers: write "name=value,name=value"')
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
