"""One HTTP/1.1 connection of a caller: requests in order, one answered at a time, each within its time."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from tokenworks.core.ids import new_id
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.http.incoming import BrokenError, Incoming
from tokenworks.gateway.http.running import Answer, run

AtOnce = Callable[[Incoming], bool]

HEAD_BYTES = 128 << 10  # the longest request line and headers
HEAD_S = 30.0  # from the first byte of a request to the end of its headers
BODY_SILENCE_S = 30.0  # between two pieces of a body
BODY_GRACE_S, BODY_BYTES_PER_S = 60.0, 1024  # a body may take so long and go so slowly, and no longer
KEEP_ALIVE_S = 75.0  # longer than the usual pool of a client keeps an idle connection
STALL_S = 120.0  # the longest that a caller may not read its answer
WAITING = 16  # requests sent ahead of answers, before the caller is made to wait
WRITE_HIGH_BYTES = 256 << 10


class Connection:
    """A caller, an asyncio protocol. `until` is the moment of the loop's clock at which its patience or ours is over.

    `at_once` is offered each request that is complete; where it returns True it answers, without a task.
    """

    def __init__(
        self, answer: Answer, at_once: AtOnce, among: set[Connection], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.until = math.inf
        self._answer = answer
        self._at_once = at_once
        self._among = among
        self._loop = loop
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._in_head = False
        self._head_at = 0.0
        self._body_bytes = 0
        self._bodiless = 0  # bytes of frames and trailers since the last of a body
        self._receiving: Incoming | None = None  # whose body is on its way
        self._current: Incoming | None = None  # who is answered
        self._fresh: Incoming | None = None  # the same, until its body is here or too long to wait for
        self._waiting: deque[Incoming] = deque()
        self._task: asyncio.Task[None] | None = None
        self._ending = False  # nothing more is taken
        self._retiring = False  # one more is taken
        self._holds = 0
        self._drained: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._current is not None

    # -- what the server asks

    def wind_up(self) -> None:
        """Take no more requests: end now, or with the answer under way."""
        self._ending = True
        if self._current is None:
            self._transport.close()
        else:
            self._current.last_one()
            self._waiting.clear()

    def retire(self) -> None:
        """Take one more request, or none but the one under way, and say with its answer that it was the last."""
        self._retiring = True
        if self._current is not None:
            self._current.last_one()

    def cut_off(self) -> None:
        """Break off the answer under way."""
        self._begin_fresh()
        if self._task is not None:
            self._task.cancel()
        elif self._current is not None and self._current.watcher is not None:
            self._current.watcher.stop()

    def abort(self) -> None:
        """Hang up."""
        self._transport.abort()

    def expire(self) -> None:
        """Too much time has passed: say so where it can still be said."""
        self._begin_fresh()
        self.until = math.inf
        receiving = self._receiving
        if self._drained is not None or (receiving is not None and receiving.unwanted):
            self._transport.abort()
        elif receiving is not None:
            self._ending = True
            receiving.break_off(BrokenError(408, "the body did not arrive in time; send it faster, or less of it"))
        elif self._in_head:
            self._refuse(408, "the request did not arrive in time", "request_timeout")
        else:
            self._transport.close()

    # -- what a request asks

    def write(self, data: bytes) -> None:
        """Send, or keep until it can be sent."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def drained(self) -> asyncio.Future[None] | None:
        """Return what to wait for while the caller reads too slowly."""
        return self._drained

    def hold(self) -> None:
        """Take no more from the caller for now."""
        self._holds += 1
        if self._holds == 1 and not self._transport.is_closing():
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Take more again."""
        self._holds -= 1
        if self._holds == 0 and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet nobody; wait for a request."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._among.add(self)
        self.until = self._loop.time() + HEAD_S

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._ending and self._receiving is None:
            return
        if self._receiving is None:
            self._head_bytes += len(data)
        else:
            self._body_bytes += len(data)
            self._bodiless += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._begin_fresh()
            self._finish_with(self._waiting[-1] if self._waiting else self._current)  # another protocol: not here
            return
        except httptools.HttpParserError as error:
            self._begin_fresh()
            self._garbled(error)
            return
        if self._fresh is not None and not self._fresh.is_brief:
            self._begin_fresh()
        if self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse(431, f"the headers are longer than {HEAD_BYTES} bytes; send less", "headers_too_large")
        elif self._receiving is not None and self._bodiless > HEAD_BYTES:
            self._cut_body(self._receiving, BrokenError(400, f"{HEAD_BYTES} bytes of the body hold nothing of it"))
        elif self._receiving is not None:
            now = self._loop.time()
            slowest = self._head_at + BODY_GRACE_S + self._body_bytes / BODY_BYTES_PER_S
            self.until = min(now + BODY_SILENCE_S, slowest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop working for a caller who is gone."""
        self._begin_fresh()
        self._among.discard(self)
        self.until = math.inf
        current = self._current
        for request in (current, *self._waiting):
            if request is not None:
                request.hang_up()
        self._waiting.clear()
        self.resume_writing()
        if self._task is not None and current is not None and current.read_through and not current.finished:
            self._task.cancel()

    def eof_received(self) -> None:
        """The caller will send no more: asyncio closes the connection."""

    def pause_writing(self) -> None:
        """The caller reads too slowly."""
        self._drained = self._loop.create_future()
        self.until = self._loop.time() + STALL_S

    def resume_writing(self) -> None:
        """The caller has caught up."""
        drained, self._drained = self._drained, None
        if drained is not None:
            self.until = math.inf
            if not drained.done():
                drained.set_result(None)

    # -- httptools calls these

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url, self._headers, self._in_head = b"", {}, True
        self._head_at = self._loop.time()
        if self._current is None:
            self.until = self._head_at + HEAD_S

    def on_url(self, url: bytes) -> None:
        """Keep a part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; of a name that stands twice, both, as one list (RFC 9110, 5.3). Trailers say nothing here."""
        if not self._in_head:
            return
        name = name.lower()
        if name in self._headers:
            value = b"%b, %b" % (self._headers[name], value)
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Answer the request, or let it wait for its turn; its body follows."""
        self._in_head, self._head_bytes, self._body_bytes, self._bodiless = False, 0, 0, 0
        method = self._parser.get_method().decode("latin-1")
        http10 = self._parser.get_http_version() == "1.0"
        request = Incoming(self, method, self._url, self._headers, http10=http10)
        if self._ending or self._retiring or not self._parser.should_keep_alive():
            request.last_one()
        self._receiving = request
        if self._current is None:
            self._current = self._fresh = request
            return
        self._waiting.append(request)
        if len(self._waiting) == WAITING:
            self.hold()

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the body."""
        self._bodiless = 0
        if self._receiving is not None:
            self._receiving.feed(body)

    def on_message_complete(self) -> None:
        """The body is complete."""
        received, self._receiving = self._receiving, None
        if received is None:
            return
        received.end()
        self.until = math.inf
        if received is self._fresh:
            self._fresh = None
            self._start(received)
        elif received is self._current and received.unwanted:
            self._turn(received)

    # -- one after the other

    def _begin_fresh(self) -> None:
        """Answer a request though its body has yet to come."""
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            self._start(fresh)

    def _start(self, request: Incoming) -> None:
        self._current = request
        if not request.complete or not self._at_once(request):
            self._task = self._loop.create_task(run(self._answer, request))

    def over(self, request: Incoming) -> None:
        """The answer is given: on to the next, once the rest of the request is out of the way."""
        self._task = None
        if self._transport.is_closing():
            self._current = None
        elif not request.finished:
            self._transport.abort()  # what the caller has got cannot be told from a whole answer otherwise
        elif request.complete or not request.keep_alive:
            self._turn(request)
        else:
            request.unwanted = True
            request.take()
            self.until = self._loop.time() + BODY_SILENCE_S

    def _turn(self, request: Incoming) -> None:
        self._current = None
        if not request.keep_alive:
            self._ending = True
            self._transport.close()
        elif self._waiting:
            if len(self._waiting) == WAITING:
                self.go_on()
            self._start(self._waiting.popleft())
        elif self._ending:
            self._transport.close()
        else:
            self.until = self._loop.time() + (HEAD_S if self._in_head else KEEP_ALIVE_S)

    # -- what cannot be answered as asked

    def _garbled(self, error: httptools.HttpParserError) -> None:
        """Bytes that are no HTTP end the connection; who asked properly before them is still answered."""
        if self._receiving is not None:
            self._cut_body(self._receiving, BrokenError(400, f"the body is not valid HTTP: {error}"))
            return
        self._refuse(400, f"this is not HTTP/1.1: {error}", "invalid_http")

    def _cut_body(self, receiving: Incoming, error: BrokenError) -> None:
        """Read no more of a body; where nobody waits for it, hang up."""
        self._ending = True
        self._receiving = None
        receiving.break_off(error)
        if receiving.unwanted:
            self._transport.abort()

    def _finish_with(self, request: Incoming | None) -> None:
        self._ending = True
        if request is not None:
            request.last_one()

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Refuse a request that has no end, and end the connection after what came before it."""
        self._finish_with(self._waiting[-1] if self._waiting else self._current)
        if self._current is not None:
            return
        id = new_id("req")
        refused = Incoming(self, "GET", b"", {}, http10=False)
        refused.last_one()
        error = ApiError(status, message, code=code)
        headers = (*error.reply(id).headers, ("x-request-id", id))
        refused.send(status, headers, error.body(id))
        self._transport.close()
