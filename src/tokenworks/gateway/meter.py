"""Token counts out of engine answers, whole or streamed, without building them as objects."""

from __future__ import annotations

import re

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.core.usage import NOTHING_SPENT, Spent, Usage
from tokenworks.gateway.openai.stated import Head, Stated
from tokenworks.gateway.sse import Splitter, payload

_SOME_TEXT = re.compile(rb'"(?:content|text|reasoning_content)":\s*"(?!")')
_HAS_USAGE = re.compile(rb'"usage":\s*\{')
_LAST_USAGE = re.compile(rb',\s*"usage":\s*\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}\s*\}\n\n\Z')
_IS_DONE = re.compile(rb"data: ?\[DONE\]")
_IS_ERROR = re.compile(rb'data: ?\{\s*"error":')


_HEAD = msgspec.json.Decoder(Head)
_SPENT = msgspec.json.Decoder(Spent)


def usage_of(body: bytes) -> Usage:
    """Return the usage that a whole answer states; raise `EngineError` when it is not an answer at all."""
    return _usage(_stated(body))


def figures_of(body: bytes) -> tuple[Usage, Spent]:
    """Return the usage, and what an engine of ours spent; raise as `usage_of` does."""
    stated = _stated(body)
    return _usage(stated), _spent(stated.spent) if stated is not None else NOTHING_SPENT


def _stated(body: bytes) -> Stated | None:
    try:
        return _HEAD.decode(body).usage
    except msgspec.MsgspecError as error:
        raise EngineError(f"the engine's answer is not an OpenAI object: {error}") from None


class StreamMeter:
    """Counts what passes. `usage` holds the engine's own figures as soon as they have come.

    An engine that states none before the end is counted by events with text: the least that was delivered, which is
    what its cancelled streams are recorded with.
    """

    def __init__(self, *, keep_usage: bool) -> None:
        self.done = False
        self.usage = Usage()
        self._keep_usage = keep_usage
        self._splitter = Splitter()
        self._stated = False
        self._spent = msgspec.Raw()
        self._spent_before = NOTHING_SPENT
        self._seen = 0

    @property
    def spent(self) -> Spent:
        """What engines of ours say that they spent so far."""
        return self._spent_before + _spent(self._spent) if self._spent_before.engine_s else _spent(self._spent)

    def taken_up(self) -> None:
        """Another engine goes on: what it will say it spent comes on top."""
        self._spent_before, self._spent = self.spent, msgspec.Raw()

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that `chunk` completes, less [DONE] and the usage that nobody asked for."""
        try:
            events = self._splitter.feed(chunk)
        except ValueError as error:
            raise EngineError(f"the engine's stream holds {error}") from None
        return b"".join([self._pass(event) for event in events])

    def _pass(self, event: bytes) -> bytes:
        """Return what the caller gets of `event`."""
        if self.done:
            return b""
        if _HAS_USAGE.search(event):
            return self._take_usage(event)
        if _IS_DONE.match(event):
            self.done = True
            return b""
        if _IS_ERROR.match(event):
            raise EngineError(f"the engine broke off: {payload(event)[:300].decode(errors='replace')}")
        return self._counted(event)

    def _counted(self, event: bytes) -> bytes:
        """Return `event`, its text counted where the engine has not said how many tokens there are."""
        if not self._stated:
            self._seen += len(_SOME_TEXT.findall(event))
            self.usage = Usage(completion_tokens=self._seen)
        return event

    def _take_usage(self, event: bytes) -> bytes:
        """Note the figures; leave them in the event that closes the stream, if the caller asked for that one."""
        try:
            head = _HEAD.decode(payload(event))
        except msgspec.MsgspecError:
            return self._counted(event)  # not ours to judge: the text of an answer may look like anything
        if head.usage is None:
            return self._counted(event)
        self.usage, self._stated = _usage(head.usage), True
        if len(head.usage.spent):
            self._spent = head.usage.spent.copy()
        if not head.choices:
            return event if self._keep_usage else b""
        return _without_usage(event)


def _without_usage(event: bytes) -> bytes:
    """Return `event` less its usage, which engines put last; wherever else it stands the object is rebuilt."""
    cut = _LAST_USAGE.search(event)
    if cut is not None:
        return event[: cut.start()] + b"}\n\n"
    fields = msgspec.json.decode(payload(event), type=dict[str, msgspec.Raw])
    fields.pop("usage", None)
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


def _spent(stated: msgspec.Raw) -> Spent:
    return _SPENT.decode(stated) if len(stated) else NOTHING_SPENT


def _usage(stated: Stated | None) -> Usage:
    if stated is None:
        return Usage()
    cached = stated.prompt_tokens_details.cached_tokens if stated.prompt_tokens_details else 0
    thought = stated.completion_tokens_details.reasoning_tokens if stated.completion_tokens_details else 0
    return Usage(
        prompt_tokens=stated.prompt_tokens,
        cached_tokens=cached or 0,
        completion_tokens=stated.completion_tokens or 0,
        thinking_tokens=thought or 0,
    )
