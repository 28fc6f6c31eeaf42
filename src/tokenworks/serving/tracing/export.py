"""The way of spans to a collector, for the gateway and for engine processes alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenworks.core.errors import MissingExtraError
from tokenworks.core.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SEND_EVERY_MS = 1000
TIMEOUT_S = 5


def open_provider(
    endpoint: str, *, service: str, sample: float = 1.0, headers: dict[str, str] | None = None
) -> TracerProvider:
    """Return what makes spans and sends them to `endpoint` from a thread of its own, about once a second.

    Without `headers` those count that OpenTelemetry finds in the environment. A share `sample` of the traces that
    begin here is kept; a caller's sampled flag is followed. Raises `MissingExtraError` without the extra `otel`.
    """
    try:  # not at the top: an extra, and only for those who trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError:
        raise MissingExtraError("telemetry.otlp_endpoint", "otel") from None
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(sample)),
        resource=Resource({"service.name": service, "service.version": __version__}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint, headers=headers, timeout=TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=SEND_EVERY_MS))
    return provider
