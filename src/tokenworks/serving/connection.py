"""One HTTP/1.1 connection to an engine: bytes out, one answer back at a time. Knows nothing of pools or OpenAI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from tokenworks.core.errors import EngineError
from tokenworks.serving.traffic import Traffic

HIGH_WATER_BYTES = 256 << 10  # of an answer waiting for its reader, before the engine is made to wait
BODILESS_BYTES = 64 << 10  # of headers, interim answers, trailers and frames between two pieces of a body
WHOLE_BYTES = 256 << 20  # of an answer that is read as a whole: ten thousand embeddings are a fifth of it


class LostError(EngineError):
    """The connection broke. `answered` tells whether the engine had begun to answer."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


Told = Callable[[EngineError | None], None]


class Connection:
    """An asyncio protocol: send a request, read its answer to the end; then the connection may be used again."""

    def __init__(self, where: str, on_lost: Callable[[Connection], None]) -> None:
        self.where = where
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.complete = True
        self.keep_alive = True
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._head: asyncio.Future[None] | None = None
        self._more: asyncio.Future[None] | None = None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._bodiless = 0
        self._paused = False
        self._error: EngineError | None = None
        self._answered = False
        self._surplus = False
        self._timer: asyncio.TimerHandle | None = None  # left alone between requests: most end long before it
        self._timer_s = 0.0
        self._heard_s = 0.0
        self._patience_s = 0.0
        self._traffic: Traffic | None = None
        self._told: Told | None = None
        self._call: Callable[[], None] | None = None

    @property
    def broken(self) -> bool:
        """Whether the rest of the answer will not come; `more` says why."""
        return self._error is not None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent: no part of an answer is left, which the next would begin with."""
        done = self.complete and not self._buffer
        return done and self.keep_alive and self._error is None and not self._transport.is_closing()

    def send(
        self, head: bytes, body: bytes, *, patience_s: float, traffic: Traffic | None = None
    ) -> asyncio.Future[None]:
        """Send a request; return what is done when status and headers are here, or has a `LostError` or `EngineError`.

        `patience_s`: the longest silence, before and within the answer. `traffic` counts the bytes.
        """
        head_here = self._head = self._loop.create_future()
        self._begin(head, body, patience_s, traffic)
        return head_here

    def ask(self, head: bytes, body: bytes, told: Told, *, patience_s: float, traffic: Traffic | None = None) -> None:
        """Send a request; `told` is called once, when the whole answer is here (`take`) or with why it is not."""
        self._head, self._told = None, told
        self._begin(head, body, patience_s, traffic)

    def take(self) -> bytes:
        """Return the whole body, once."""
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        return data

    def _begin(self, head: bytes, body: bytes, patience_s: float, traffic: Traffic | None) -> None:
        self.status, self.headers, self.complete, self._answered, self._surplus = 0, {}, False, False, False
        self._parser = httptools.HttpResponseParser(self)
        self._bodiless = 0
        self._heard_s, self._patience_s = self._loop.time(), patience_s
        if self._timer is None or self._heard_s + patience_s < self._timer_s:
            self._look_in(patience_s)
        self._traffic = traffic
        if traffic is not None:
            traffic.sent_bytes += len(head) + len(body)
        if len(body) < 1 << 16:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def arrived(self) -> bytes | None:
        """Return what has come of the body, empty at its end; None: nothing yet, wait for `more`."""
        if not self._buffer:
            return b"" if self.complete else None
        data = self.take()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    def more(self) -> asyncio.Future[None]:
        """Return what to wait for until more of the body has come; raise where it will not."""
        if self._error is not None:
            raise self._error
        self._more = self._loop.create_future()
        return self._more

    def when_more(self, call: Callable[[], None] | None) -> None:
        """Have `call` made whenever more of the body has come, at its end, and when it breaks; None: no more."""
        self._call = call

    def close(self) -> None:
        """Hang up at once: the engine sees it and stops working."""
        self._told = self._call = None
        self._stop_timer()
        self._transport.abort()

    # asyncio calls the next six, httptools the five after them.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came; bytes that no request asked for end the connection."""
        if self.complete:
            self._fail(self._unasked())
            return
        self._answered = True
        if self._traffic is not None:
            self._traffic.received_bytes += len(data)
        self._heard_s = self._loop.time()
        self._bodiless += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(EngineError(f"engine at {self.where} does not speak HTTP: {error}; is the address right?"))
            return
        if self._surplus:  # whose answer is whose cannot be told any more
            self._buffer.clear()
            self.complete = False
            self._fail(self._unasked())
            return
        if self._bodiless > BODILESS_BYTES and not self.complete:
            self._fail(self._beyond(f"{BODILESS_BYTES} bytes of headers and frames without a word of an answer"))
            return
        if self._told is not None:
            if self.complete:
                self._tell(None)
            elif self._buffered > WHOLE_BYTES:
                self._fail(self._beyond(f"{WHOLE_BYTES} bytes of one answer"))
            return
        if self._call is not None and self._buffer:
            self._call()
        if self._call is not None and self.complete:
            self._call()
        if self._buffered > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if self._buffer and self._more is not None:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a body that only the closing of the connection ends; anything else unfinished is an error."""
        if not self.complete and exc is None and self._ends_with_connection():
            self.on_message_complete()
            self._tell(None)
            if self._call is not None:
                self._call()
        elif self._error is None:
            reason = f": {exc}" if exc else ""
            self._fail(
                LostError(
                    f"engine at {self.where} hung up before its answer was complete{reason}", answered=self._answered
                )
            )
        self._stop_timer()
        self._on_lost(self)

    def eof_received(self) -> None:
        """The engine will send no more: asyncio closes the connection."""

    def pause_writing(self) -> None:
        """The engine reads slowly; a request is sent whole all the same."""

    def resume_writing(self) -> None:
        """The engine has caught up."""

    def on_message_begin(self) -> None:
        """An answer begins; there is one for each request."""
        self._surplus = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header under its lower-case name."""
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Hand over status and headers, unless they are interim ones."""
        self.status = self._parser.get_status_code()
        if self.status >= 200 and self._head is not None and not self._head.done():
            self._head.set_result(None)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body for its reader."""
        self._buffer.append(body)
        self._buffered += len(body)
        self._bodiless = 0

    def on_message_complete(self) -> None:
        """Note the end, unless it is that of an interim answer."""
        if self.status < 200:
            self.headers.clear()
            return
        self.complete = True
        self.keep_alive = self._parser.should_keep_alive()
        self._wake()

    def _beyond(self, what: str) -> EngineError:
        return EngineError(f"engine at {self.where} sent more than {what}; is the address right?")

    def _unasked(self) -> EngineError:
        return EngineError(f"engine at {self.where} sent bytes that no request asked for")

    def _ends_with_connection(self) -> bool:
        headed = self.status >= 200 and (self._head is None or self._head.done())
        return headed and b"content-length" not in self.headers and b"transfer-encoding" not in self.headers

    def _look_in(self, seconds: float) -> None:
        self._stop_timer()
        self._timer_s = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._check_silence)

    def _check_silence(self) -> None:
        self._timer = None
        if self.complete:
            return
        left_s = self._heard_s + self._patience_s - self._loop.time()
        if left_s > 0 or self._paused:
            self._look_in(left_s if left_s > 0 else 1.0)
            return
        self._fail(EngineError(f"engine at {self.where} said nothing for {self._patience_s:g} s"))

    def _fail(self, error: EngineError) -> None:
        self._error = error
        self._stop_timer()
        if self._head is not None and not self._head.done():
            self._head.set_exception(error)
        self._wake()
        self._transport.abort()
        self._tell(error)
        if self._call is not None:
            self._call()

    def _tell(self, error: EngineError | None) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(error)

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
        self._more = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
