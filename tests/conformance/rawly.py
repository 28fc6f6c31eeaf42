"""Requests as bytes on a socket, so that they can be wrong in ways that no client would send."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from urllib.parse import urlsplit

from conformance.served import Served
from tokenworks.core.ids import new_id
from tokenworks.ledger.entries import RequestEntry

PATIENCE_S = 20.0  # what takes longer hangs


class Wire:
    """A server as seen by somebody who writes bytes."""

    def __init__(self, served: Served) -> None:
        self.served = served
        parts = urlsplit(served.url)
        self._place = (parts.hostname, parts.port)

    def connect(self) -> socket.socket:
        """Return an open connection whose reads do not wait for ever."""
        return socket.create_connection(self._place, timeout=PATIENCE_S)

    def head(self, length: int | None, *more: str, path: str = "/v1/chat/completions") -> tuple[bytes, str]:
        """Return the head of a request, and its id."""
        id = new_id("raw")
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.served.key}", f"X-Request-Id: {id}"]
        lines += [
            "Content-Type: application/json",
            *([f"Content-Length: {length}"] if length is not None else []),
            *more,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n", id

    def post(self, body: bytes, *more: str, path: str = "/v1/chat/completions") -> tuple[int, bytes, str]:
        """Send a whole request; return the status, the body, and the request's id."""
        head, id = self.head(len(body), "Connection: close", *more, path=path)
        with self.connect() as line:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered before all was read
                line.sendall(head + body)
            return *answer_of(everything(line)), id

    def raw(self, data: bytes) -> bytes:
        """Send bytes; return all that comes back until the server closes, or is silent for a second."""
        with self.connect() as line:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.sendall(data)
            line.settimeout(1.0)
            return everything(line)

    def entries(self, ids: list[str]) -> dict[str, list[RequestEntry]]:
        """Return the entries of these requests, once each that was answered can be there."""
        found: dict[str, list[RequestEntry]] = {id: [] for id in ids}
        for entry in self.served.requests():
            if entry.request_id in found:
                found[entry.request_id].append(entry)
        return found

    def settled(self, ids: list[str]) -> dict[str, RequestEntry]:
        """Return the one entry of each; fail where one has none after a while, or two."""
        deadline = time.monotonic() + PATIENCE_S
        while not all((found := self.entries(ids)).values()):
            assert time.monotonic() < deadline, [id for id, one in found.items() if not one]
            time.sleep(0.1)
        assert {len(one) for one in found.values()} == {1}
        return {id: one for id, [one] in found.items()}

    def alive(self) -> None:
        """Fail where an ordinary request is not answered."""
        status, body, _ = self.post(chat(self.served.writer, max_tokens=1))
        assert status == 200, body


def chat(model: str, **more: object) -> bytes:
    """Return the body of a small chat."""
    messages = [{"role": "user", "content": "a card"}]
    return json.dumps({"model": model, "messages": messages, "max_tokens": 2, **more}).encode()


def everything(line: socket.socket) -> bytes:
    """Return what comes until the other side closes, or is silent for as long as the socket waits."""
    data = b""
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while piece := line.recv(65_536):
            data += piece
    return data


def answer_of(data: bytes) -> tuple[int, bytes]:
    """Return the status and the body; 0 where there is no answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head.startswith(b"HTTP/1.") else 0), body


def hang_up(line: socket.socket) -> None:
    """End the connection with a reset, as a killed process does."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()
