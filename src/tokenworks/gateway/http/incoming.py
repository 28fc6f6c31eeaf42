"""One request as it arrives and its answer as it leaves. Knows its connection only by what it may ask of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import ClassVar, Protocol
from urllib.parse import unquote

Headers = Sequence[tuple[str, str]]
BRIEF_BYTES = 64 << 10
HIGH_WATER_BYTES = 1 << 20  # of a body that waits for its reader, before the caller is made to wait
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class GoneError(Exception):
    """The caller hung up before its request was complete."""


class BrokenError(Exception):
    """The rest of the body will not come: `status` and the message say why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Wire(Protocol):
    """The connection as a request needs it."""

    def write(self, data: bytes) -> None:
        """Send, or keep until it can be sent; drop what nobody is there to read."""
        ...

    def drained(self) -> asyncio.Future[None] | None:
        """Return what to wait for while the caller reads too slowly, or None."""
        ...

    def hold(self) -> None:
        """Take no more from the caller for now."""
        ...

    def go_on(self) -> None:
        """Take more again."""
        ...

    def over(self, request: Incoming) -> None:
        """The answer is given."""
        ...


class Watcher(Protocol):
    """Who answers a request without a task of its own, as the connection tells it."""

    def stop(self) -> None:
        """The caller has hung up, or the answer has to end now."""
        ...


class Incoming:
    """A request. Header names are in lower case; a name that stands twice has a list as its value."""

    __slots__ = (
        "_body",
        "_broken",
        "_chunked",
        "_expects",
        "_head_kept",
        "_held",
        "_keep_alive",
        "_more",
        "_size",
        "_wire",
        "begun",
        "complete",
        "finished",
        "gone",
        "headers",
        "method",
        "path",
        "query",
        "raw_path",
        "read_through",
        "unwanted",
        "watcher",
    )

    def __init__(self, wire: Wire, method: str, target: bytes, headers: dict[bytes, bytes], *, http10: bool) -> None:
        self.method = method
        raw, _, query = target.partition(b"?")
        self.raw_path = raw.decode("latin-1")
        self.path = unquote(self.raw_path) if "%" in self.raw_path else self.raw_path
        self.query = query.decode("latin-1")
        self.headers = headers
        self.gone = False  # whether the caller has hung up
        self.begun = False  # whether an answer is on its way
        self.finished = False  # whether all of it was handed to the connection
        self.complete = False  # whether the whole body has arrived
        self.read_through = False  # whether somebody has read it to its end
        self.unwanted = False  # what still comes of the body is thrown away
        self._wire = wire
        self._chunked = not http10
        self._keep_alive = True
        self._expects = headers.get(b"expect", b"").lower() == b"100-continue"
        self._body: list[bytes] = []
        self._size = 0
        self._held = False
        self._head_kept = b""
        self._more: asyncio.Future[None] | None = None
        self._broken: BrokenError | None = None
        self.watcher: Watcher | None = None

    # -- the body, for who answers

    def arrived(self) -> bytes | None:
        """Return what has come of the body, empty at its end; None: nothing yet, wait for `more`."""
        if self._body:
            part = self.take()
            self.read_through = self.complete
            return part
        if not self.complete:
            return None
        self.read_through = True
        return b""

    def more(self) -> asyncio.Future[None]:
        """Return what to wait for until more of the body has come; raise where it will not.

        Raises `GoneError` or `BrokenError`.
        """
        if self._broken is not None:
            raise self._broken
        if self.gone:
            raise GoneError
        if self._expects and not self.begun:
            self._expects = False
            self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._more = asyncio.get_running_loop().create_future()
        return self._more

    def whole(self) -> bytes:
        """Return the body of a request that is complete, and leave it there."""
        if len(self._body) > 1:
            self._body = [b"".join(self._body)]
        return self._body[0] if self._body else b""

    @property
    def is_brief(self) -> bool:
        """Whether its body says that it is short, so that it may as well be waited for."""
        length = self.headers.get(b"content-length", b"")
        return length.isdigit() and int(length) <= BRIEF_BYTES and not self._expects

    @property
    def size(self) -> int:
        """Bytes of the body that wait."""
        return self._size

    def take_all(self) -> bytes:
        """Return the rest of a body that is complete."""
        self.read_through = True
        return self.take() if self._body else b""

    def take(self) -> bytes:
        """Return all of the body that waits."""
        part = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._size = 0
        if self._held:
            self._held = False
            self._wire.go_on()
        return part

    # -- the answer

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        self.begun = self.finished = True
        head = self._head(status, headers, f"content-length: {len(body)}\r\n")
        self._wire.write(head if self.method == "HEAD" else head + body)

    def send_lines(self, status: int, lines: str, body: bytes) -> None:
        """Send a whole answer to a request other than HEAD; `lines` are its headers as they stand in HTTP."""
        self.begun = self.finished = True
        self._wire.write(self._opening(status, f"{lines}content-length: {len(body)}\r\n") + body)

    def begin(self, status: int, headers: Headers) -> None:
        """Begin an answer that comes piece by piece; where it says its length, that frames it.

        Its head leaves with the first piece, or with `flush`: each way out costs as much as a layer or two.
        """
        self.begun = True
        if any(name == "content-length" for name, _ in headers):
            self._chunked = False  # both at once are no HTTP (RFC 9112, 6.2)
        elif not self._chunked:
            self._keep_alive = False  # for HTTP/1.0 the end of the connection is the end of the answer
        self._head_kept = self._head(status, headers, "transfer-encoding: chunked\r\n" if self._chunked else "")

    def flush(self) -> None:
        """Send the head, if that has not left yet."""
        head, self._head_kept = self._head_kept, b""
        if head:
            self._wire.write(head)

    def write(self, chunk: bytes) -> asyncio.Future[None] | None:
        """Send a part of it; return what to wait for while the caller reads too slowly."""
        if self.method == "HEAD" or not chunk:
            return None
        head, self._head_kept = self._head_kept, b""
        self._wire.write(b"%b%x\r\n%b\r\n" % (head, len(chunk), chunk) if self._chunked else head + chunk)
        return self._wire.drained()

    def finish(self, chunk: bytes = b"") -> None:
        """Send the end of it, behind a last `chunk`."""
        self.finished = True
        head, self._head_kept = self._head_kept, b""
        if self.method == "HEAD" or not self._chunked:
            last = chunk if self.method != "HEAD" else b""
        else:
            last = b"%x\r\n%b\r\n0\r\n\r\n" % (len(chunk), chunk) if chunk else b"0\r\n\r\n"
        if head or last:
            self._wire.write(head + last)

    def _head(self, status: int, headers: Headers, framing: str) -> bytes:
        lines = "".join([f"{name}: {_one_line(value)}\r\n" for name, value in headers])
        return self._opening(status, lines + framing)

    def _opening(self, status: int, lines: str) -> bytes:
        last = "" if self._keep_alive else "connection: close\r\n"
        start = _STATUS[status if status in _STATUS else 500]
        return start + f"{lines}{last}".encode("latin-1", "replace") + _date()

    def answered(self) -> None:
        """Go on to the caller's next request: the answer, given without a task, is out."""
        self.watcher = None
        self._wire.over(self)

    # -- what the connection tells

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow on the connection."""
        return self._keep_alive

    def last_one(self) -> None:
        """After this request the connection ends, and its answer says so where it has not begun."""
        self._keep_alive = False

    def feed(self, part: bytes) -> None:
        """A part of the body has come."""
        if self.unwanted:
            return
        self._body.append(part)
        self._size += len(part)
        if self._size > HIGH_WATER_BYTES and not self._held:
            self._held = True
            self._wire.hold()
        self._wake()

    def end(self) -> None:
        """The body is complete."""
        self.complete = True
        self._wake()

    def hang_up(self) -> None:
        """The caller is gone."""
        self.gone = True
        self._wake()
        if self.watcher is not None:
            self.watcher.stop()

    def break_off(self, error: BrokenError) -> None:
        """The rest of the body will not come."""
        self._broken = error
        self._keep_alive = False
        self._wake()

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)


def _one_line(value: str) -> str:
    """Return `value` such that it cannot end its header."""
    return value.replace("\r", " ").replace("\n", " ") if "\n" in value or "\r" in value else value


class _Dated:
    """The end of a head with the date, made once a second."""

    second: ClassVar[int] = 0
    text: ClassVar[bytes] = b""


def _date() -> bytes:
    now = int(time.time())
    if now != _Dated.second:
        _Dated.second, _Dated.text = now, f"date: {formatdate(now, usegmt=True)}\r\n\r\n".encode()
    return _Dated.text
