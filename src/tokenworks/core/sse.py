"""Server-sent events as bytes: cut a stream into events wherever its chunks were split."""

from __future__ import annotations

DONE = b"data: [DONE]\n\n"


class Splitter:
    """Feed it chunks, get whole events, each with its blank line. CRLF, LF and CR line ends are understood.

    What has come of an event is put together when its end is there and not before: it may come byte by byte.
    """

    def __init__(self, max_event_bytes: int = 16 << 20) -> None:
        self._rest = bytearray()
        self._held = b""  # a CR whose LF may still come
        self._most = max_event_bytes

    @property
    def rest(self) -> bytes:
        """What has arrived of an event that is not complete."""
        return bytes(self._rest) + self._held

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that `chunk` completes; raise `ValueError` when one grows beyond all measure."""
        if self._held or b"\r" in chunk:
            chunk = self._plain(chunk)
        if b"\n\n" not in chunk and not (chunk[:1] == b"\n" and self._rest[-1:] == b"\n"):
            self._keep(chunk)
            return []
        if self._rest:
            chunk = bytes(self._rest + chunk)
            self._rest.clear()
        *whole, rest = chunk.split(b"\n\n")
        self._keep(rest)
        return [event + b"\n\n" for event in whole]

    def _plain(self, chunk: bytes) -> bytes:
        """Return `chunk` with LF as its line ends; a final CR waits, since its LF may still come."""
        chunk = self._held + chunk
        self._held = b"\r" if chunk.endswith(b"\r") else b""
        return chunk[: len(chunk) - len(self._held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, part: bytes) -> None:
        self._rest += part
        if len(self._rest) > self._most:
            raise ValueError(f"an event of more than {self._most} bytes")


def payload(event: bytes) -> bytes:
    """Return the data of an event; several data lines are joined as the standard says."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2:
        return event[6:-2]
    lines = (line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(lines)
