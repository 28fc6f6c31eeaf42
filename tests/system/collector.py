"""An OpenTelemetry collector for tests: takes OTLP over HTTP, decodes its protobuf, keeps the spans."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KINDS = {("tokenworks", 2): "server", ("tokenworks", 3): "client", ("tokenworks-engine", 2): "engine"}


class Collector:
    """Listens on `url` until closed."""

    def __init__(self) -> None:
        self.raw = b""
        self.headers: dict[str, dict[str, str]] = {}  # by who sent them
        self._spans: list[tuple[str, Any]] = []
        collector = self

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                collector.take(body, {name.lower(): value for name, value in self.headers.items()})
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        """Keep what came."""
        asked = ExportTraceServiceRequest.FromString(body)
        self.raw += body
        for resource in asked.resource_spans:
            service = attributes(resource.resource)["service.name"]
            self.headers[service] = headers
            self._spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]

    def trace(self, trace_id: str, *, spans: int, timeout_s: float = 60.0) -> dict[str, Any]:
        """Return the spans of a trace as server, client, engine, and by name; waits until there are so many."""
        end = time.monotonic() + timeout_s
        while True:
            found = [(sender, span) for sender, span in list(self._spans) if span.trace_id.hex() == trace_id]
            if len(found) >= spans or time.monotonic() > end:
                assert len(found) == spans, [span.name for _, span in found]
                return {KINDS.get((sender, span.kind), span.name): span for sender, span in found}
            time.sleep(0.05)

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


def attributes(of: Any) -> dict[str, Any]:
    """Return the attributes of a span, an event or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}
