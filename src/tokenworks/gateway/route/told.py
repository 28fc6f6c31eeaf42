"""What of a stream was passed on, as tokens: enough for another engine to finish it."""

from __future__ import annotations

import re

from tokenworks.core.errors import EngineError
from tokenworks.gateway.sse import DONE, Splitter, payload

_TOKENS = b": tokens "
_CHOICES = b',"choices":'
_ENDED = re.compile(rb'"finish_reason":"')
_USAGE = re.compile(rb'"usage":(\{.*\})\}\s*\Z', re.DOTALL)
_IS_ERROR = b'data: {"error"'
_OPENING = b'"delta":{"role":"assistant","content":""}'


class Told:
    """Reads a stream as it passes. Events carry the tokens that they are made of as a comment, which is taken out."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []
        self.complete = False  # whether [DONE] was passed on
        self.broken = ""  # what the engine said last, where that was an error
        self.ended = False  # whether the answer was whole, though perhaps not the stream
        self._traced = True  # whether every event with text said its tokens
        self._head = b""  # what every event of the stream begins with
        self._again = False
        self._last = b""
        self._splitter = Splitter()

    @property
    def resumable(self) -> bool:
        """Whether another engine can take it up where it stands."""
        return self._traced and not self.complete

    def take_up(self) -> None:
        """The next bytes come from another engine; what had arrived of an event is made again."""
        self._splitter = Splitter()
        self._again, self.broken = True, ""

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that `chunk` completes, up to one that is an error: then `broken` says what it holds."""
        try:
            events = self._splitter.feed(chunk)
        except ValueError as error:
            raise EngineError(f"the engine's stream holds {error}") from None
        passed = []
        for event in events:
            if event.startswith(_IS_ERROR):
                self.broken = payload(event)[:300].decode(errors="replace")
                break
            passed.append(self._pass(event))
        return passed[0] if len(passed) == 1 else b"".join(passed)

    def last_words(self) -> bytes:
        """Return the end of a stream whose answer was whole: its usage as last told, and [DONE]."""
        usage = _USAGE.search(payload(self._last))
        told = b""
        if usage is not None:
            told = self._head + b',"choices":[],"usage":' + usage[1] + b"}\n\n"
        return told + DONE

    def _pass(self, event: bytes) -> bytes:
        """Return what goes on of `event`."""
        if event.startswith(_TOKENS):
            comment, _, event = event.partition(b"\n")
            ids = comment[len(_TOKENS) :]
            if ids:
                self.seen.append(tuple(int(token) for token in ids.split(b",")))
        elif event == DONE:
            self.complete = True
            return event
        elif _OPENING not in event and b'"choices":[]' not in event:
            self._traced = False
        head, choices, rest = event.partition(_CHOICES)
        if not self._head:
            self._head = head
        if _ENDED.search(rest):
            self.ended, self._last = True, event
        return self._head + choices + rest if self._again and choices else event
