"""Server-sent events as bytes: cut a stream into events wherever its chunks were split."""

from __future__ import annotations

DONE = b"data: [DONE]\n\n"


class Splitter:
    """Feed it chunks, get whole events, each with its blank line. CRLF, LF and CR line ends are understood."""

    def __init__(self, max_event_bytes: int = 16 << 20) -> None:
        self._rest = b""
        self._most = max_event_bytes

    @property
    def rest(self) -> bytes:
        """What has arrived of an event that is not complete."""
        return self._rest

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that `chunk` completes; raise `ValueError` when one grows beyond all measure."""
        data = self._rest + chunk if self._rest else chunk
        if b"\r" in data:
            return self._feed_any(data)
        *whole, self._rest = data.split(b"\n\n")
        self._check()
        return [event + b"\n\n" for event in whole]

    def _feed_any(self, data: bytes) -> list[bytes]:
        """Cut where other line ends occur; a final CR waits, since its LF may still come."""
        held = b"\r" if data.endswith(b"\r") else b""
        plain = data[: len(data) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, rest = plain.split(b"\n\n")
        self._rest = rest + held
        self._check()
        return [event + b"\n\n" for event in whole]

    def _check(self) -> None:
        if len(self._rest) > self._most:
            raise ValueError(f"an event of more than {self._most} bytes")


def payload(event: bytes) -> bytes:
    """Return the data of an event; several data lines are joined as the standard says."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2:
        return event[6:-2]
    lines = (line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(lines)
