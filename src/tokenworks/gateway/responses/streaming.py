"""A chat's stream as the events of /v1/responses, numbered one after the other."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenworks.gateway.openai.spoken import Call, read_chat
from tokenworks.gateway.responses.kept import Kept
from tokenworks.gateway.responses.outcome import Outcome
from tokenworks.gateway.responses.shown import call_item, message_item, response, text_part


class Events:
    """One answer on its way."""

    def __init__(self, id: str, at: float, kept: Kept, chat: dict[str, Any]) -> None:
        self.outcome = Outcome()
        self._id, self._at, self._kept, self._chat = id, at, kept, chat
        self._number = 0
        self._open: list[dict[str, Any]] = []  # the items so far, the last of them open
        self._places: dict[int, int] = {}  # a call's index -> its place among the items

    def feed(self, data: bytes) -> bytes:
        """Return what an event of the chat becomes."""
        chat = read_chat(data)
        made = b"" if self._number else self._begin(chat.model)
        self.outcome.take(chat)
        for choice in chat.choices[:1]:
            if choice.delta.content:
                made += self._say(choice.delta.content)
            for call in choice.delta.tool_calls or ():
                made += self._call(call)
        return made

    def end(self) -> bytes:
        """Return how the answer ends."""
        whole = self.whole()
        kind = "response.incomplete" if self.outcome.cut_short else "response.completed"
        return (b"" if self._open else self._say("")) + self._close() + self._event(kind, response=whole)

    def fail(self, error: dict[str, Any]) -> bytes:
        """Return how it ends where it broke off."""
        told = {"code": "server_error", "message": str(error.get("message", ""))}
        begun = b"" if self._number else self._begin("")
        failed = {**self._empty(), "status": "failed", "error": told}
        return begun + self._event("response.failed", response=failed)

    def whole(self) -> dict[str, Any]:
        """Return the response as it came out."""
        return response(self._id, self._at, self._kept, self._chat, self.outcome)

    def _empty(self) -> dict[str, Any]:
        return response(self._id, self._at, self._kept, self._chat, None)

    def _begin(self, model: str) -> bytes:
        empty = {**self._empty(), "model": model or self._chat["model"]}
        return self._event("response.created", response=empty) + self._event("response.in_progress", response=empty)

    def _say(self, text: str) -> bytes:
        made = b""
        if not self._open:
            self._open.append({"id": message_item(self._id, None, "in_progress")["id"], "said": True})
            item = message_item(self._id, None, "in_progress")
            made += self._event("response.output_item.added", output_index=0, item=item)
            made += self._of_item("response.content_part.added", content_index=0, part=text_part(""))
        return made + (
            self._of_item("response.output_text.delta", content_index=0, delta=text, logprobs=[]) if text else b""
        )

    def _call(self, call: Call) -> bytes:
        made = b""
        if call.index not in self._places:
            made += self._close()
            self._places[call.index] = len(self._open)
            item = call_item(self._id, call.index, self.outcome.calls[call.index], "in_progress")
            self._open.append({"id": item["id"], "index": call.index})
            made += self._event(
                "response.output_item.added", output_index=len(self._open) - 1, item={**item, "arguments": ""}
            )
        arguments = call.function.arguments
        return made + (self._of_item("response.function_call_arguments.delta", delta=arguments) if arguments else b"")

    def _close(self) -> bytes:
        """Return what closes the open item."""
        if not self._open:
            return b""
        place, item = len(self._open) - 1, self._open[-1]
        status = "incomplete" if self.outcome.cut_short else "completed"
        if item.get("said"):
            text = self.outcome.text
            done = self._of_item("response.output_text.done", content_index=0, text=text, logprobs=[])
            done += self._of_item("response.content_part.done", content_index=0, part=text_part(text))
            shown = message_item(self._id, text, status)
        else:
            called = self.outcome.calls[item["index"]]
            done = self._of_item("response.function_call_arguments.done", name=called.name, arguments=called.arguments)
            shown = call_item(self._id, item["index"], called, status)
        return done + self._event("response.output_item.done", output_index=place, item=shown)

    def _of_item(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=self._open[-1]["id"], output_index=len(self._open) - 1, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"
