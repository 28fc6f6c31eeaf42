"""What is known of one request's spans while it is under way. Loads no OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an extra, for those who trace
    from opentelemetry.trace import Span, Tracer


class Traced:
    """The root span, and what makes others below it."""

    __slots__ = ("root", "tracer", "waits_s")

    def __init__(self, tracer: Tracer, root: Span) -> None:
        self.tracer = tracer
        self.root = root
        self.waits_s = 0.0  # since when it waits for an engine, on the monotonic clock
