"""Traces on their way to a collector, where one is configured; without one nothing is loaded and nothing runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tokenworks.core.errors import ConfigError, MissingExtraError
from tokenworks.core.version import __version__
from tokenworks.gateway.exchange import Layer
from tokenworks.settings import TelemetrySettings


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
    try:  # not at the top: an extra, and only for those who trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        from tokenworks.gateway.tracing import Tracing
    except ImportError:
        raise MissingExtraError("telemetry.otlp_endpoint", "otel") from None
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample)),
        resource=Resource({"service.name": settings.service, "service.version": __version__}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint, headers=headers, timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    return Telemetry(Tracing(provider.get_tracer("tokenworks", __version__)).around, provider.shutdown)


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
