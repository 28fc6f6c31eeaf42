"""What came of a chat, gathered from its answer, whether that was whole or a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from tokenworks.gateway.openai.spoken import Call, Chat, Said, Used, read_chat
from tokenworks.gateway.sse import DONE, Splitter, payload


@dataclass
class Called:
    """A call of a function."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class Outcome:
    """An answer so far."""

    model: str = ""
    text: str = ""
    calls: dict[int, Called] = field(default_factory=dict)
    finish_reason: str = ""
    used: Used | None = None

    def take(self, chat: Chat) -> None:
        """Take in a completion, or an event of one."""
        self.model = chat.model or self.model
        self.used = chat.usage or self.used
        for choice in chat.choices[:1]:
            for said in (choice.message, choice.delta):
                self._say(said)
            self.finish_reason = choice.finish_reason or self.finish_reason

    def _say(self, said: Said) -> None:
        self.text += said.content or ""
        for place, call in enumerate(said.tool_calls or ()):
            self._call(call.index or place, call)

    def _call(self, index: int, call: Call) -> None:
        called = self.calls.setdefault(index, Called())
        called.id = call.id or called.id
        called.name = call.function.name or called.name
        called.arguments += call.function.arguments or ""

    @property
    def cut_short(self) -> bool:
        """Whether the answer ends where there was no more room, and not where it was complete."""
        return self.finish_reason == "length"


def outcome_of(answer: bytes) -> Outcome:
    """Return what the recorded bytes of an answer came to."""
    outcome = Outcome()
    if not answer.startswith(b"data:"):
        outcome.take(read_chat(answer))
        return outcome
    for event in Splitter().feed(answer):
        if event != DONE and (data := payload(event)):
            outcome.take(read_chat(data))
    return outcome
