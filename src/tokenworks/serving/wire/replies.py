"""Response bodies as the official `openai` client parses them; streams are built from prepared bytes."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from tokenworks.core.usage import Spent
from tokenworks.serving.engine import Piece, TokenLogprob, Vectors

encode = msgspec.json.Encoder().encode
DONE = b"data: [DONE]\n\n"


class Choice:
    """One answer while its pieces come in."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tokens = 0
        self.finish_reason: str | None = None
        self.stop = ""
        self.logprobs: list[TokenLogprob] = []
        self.resumed = False  # whether another engine began it
        self.length = 0  # characters so far, for the text offsets of the completions form

    def add(self, piece: Piece) -> None:
        """Take in one more piece."""
        self.texts.append(piece.text)
        self.tokens += piece.tokens
        self.logprobs.extend(piece.logprobs)
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.stop = piece.stop or self.stop


def total(prompt_tokens: int, choices: Sequence[Choice], cached_tokens: int, spent: Spent) -> dict[str, Any]:
    """Return the usage object of all choices so far."""
    completion_tokens = sum(choice.tokens for choice in choices)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
        "spent": _spent(spent),
    }


def _spent(spent: Spent) -> dict[str, Any]:
    """Return the extension of a usage object that says what the machines spent."""
    shown: dict[str, Any] = {"engine_s": round(spent.engine_s, 9)}
    if spent.meter:
        shown["meter"] = spent.meter
    if spent.joules is not None:
        shown |= {"joules": round(spent.joules, 6), "joules_error": round(spent.joules_error, 4)}
    return shown


def ids(piece: Piece) -> bytes:
    """Return the comment that says which tokens the next event is made of."""
    return b": tokens " + b",".join(b"%d" % token for token in piece.ids) + b"\n"


def _end(piece: Piece, so_far: dict[str, Any] | None) -> bytes:
    """Return the end of an event, with the usage so far where it was asked for."""
    usage = b"" if so_far is None else b',"usage":' + encode(so_far)
    stop = b',"stop_reason":' + encode(piece.stop) if piece.stop else b""
    return b',"finish_reason":' + encode(piece.finish_reason) + stop + b"}]" + usage + b"}\n\n"


def _stop(choice: Choice) -> dict[str, str]:
    """Return which stop string ended a choice, under the name that vLLM has for it."""
    return {"stop_reason": choice.stop} if choice.stop else {}


class ChatForm:
    """Bodies of /v1/chat/completions."""

    prefix, whole, part = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, request_id: str, created: int, model: str, wants_logprobs: bool) -> None:
        self._head = {"id": request_id, "object": self.whole, "created": created, "model": model}
        head = encode({**self._head, "object": self.part})[:-1]
        self._start = b"data: " + head + b',"choices":[{"index":'
        self._usage = b"data: " + head + b',"choices":[],"usage":'
        self._wants_logprobs = wants_logprobs

    def opening(self, index: int) -> bytes:
        """Return the event that says who speaks."""
        rest = b',"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n\n'
        return self._start + str(index).encode() + rest

    def event(self, piece: Piece, choice: Choice, so_far: dict[str, Any] | None = None) -> bytes:
        """Return the event of one piece, with the usage so far where it is given."""
        delta = b',"delta":{"content":' + encode(piece.text) + b"}" if piece.text else b',"delta":{}'
        logprobs = encode(self._logprobs(piece.logprobs)) if self._wants_logprobs else b"null"
        end = _end(piece, so_far)
        index = str(piece.index).encode()
        return self._start + index + delta + b',"logprobs":' + logprobs + end

    def usage_event(self, used: dict[str, Any]) -> bytes:
        """Return the event that `stream_options.include_usage` asks for."""
        return self._usage + encode(used) + b"}\n\n"

    def body(self, choices: Sequence[Choice], used: dict[str, Any]) -> bytes:
        """Return the whole answer."""
        listed = [
            {
                "index": index,
                "message": {"role": "assistant", "content": "".join(choice.texts), "refusal": None},
                "logprobs": self._logprobs(choice.logprobs) if self._wants_logprobs else None,
                "finish_reason": choice.finish_reason,
                **_stop(choice),
            }
            for index, choice in enumerate(choices)
        ]
        return encode({**self._head, "choices": listed, "usage": used})

    def _logprobs(self, entries: Sequence[TokenLogprob]) -> dict[str, Any]:
        content = [
            _chat_logprob(entry.token, entry.logprob)
            | {"top_logprobs": [_chat_logprob(token, value) for token, value in entry.top.items()]}
            for entry in entries
        ]
        return {"content": content, "refusal": None}


class CompletionForm:
    """Bodies of /v1/completions."""

    prefix, whole, part = "cmpl", "text_completion", "text_completion"

    def __init__(self, request_id: str, created: int, model: str, wants_logprobs: bool) -> None:
        self._head = {"id": request_id, "object": self.whole, "created": created, "model": model}
        head = encode(self._head)[:-1]
        self._start = b"data: " + head + b',"choices":[{"index":'
        self._usage = b"data: " + head + b',"choices":[],"usage":'
        self._wants_logprobs = wants_logprobs

    def opening(self, index: int) -> bytes:
        """Return nothing: a completion begins with its text."""
        return b""

    def event(self, piece: Piece, choice: Choice, so_far: dict[str, Any] | None = None) -> bytes:
        """Return the event of one piece, with the usage so far where it is given."""
        logprobs = encode(self._logprobs(piece.logprobs, choice)) if self._wants_logprobs else b"null"
        end = _end(piece, so_far)
        index = str(piece.index).encode()
        text = b',"text":' + encode(piece.text)
        return self._start + index + text + b',"logprobs":' + logprobs + end

    def usage_event(self, used: dict[str, Any]) -> bytes:
        """Return the event that `stream_options.include_usage` asks for."""
        return self._usage + encode(used) + b"}\n\n"

    def body(self, choices: Sequence[Choice], used: dict[str, Any]) -> bytes:
        """Return the whole answer."""
        listed = [
            {
                "index": index,
                "text": "".join(choice.texts),
                "logprobs": self._logprobs(choice.logprobs, choice) if self._wants_logprobs else None,
                "finish_reason": choice.finish_reason,
                **_stop(choice),
            }
            for index, choice in enumerate(choices)
        ]
        return encode({**self._head, "choices": listed, "usage": used})

    def _logprobs(self, entries: Sequence[TokenLogprob], choice: Choice) -> dict[str, Any]:
        offsets = []
        for entry in entries:
            offsets.append(choice.length)
            choice.length += len(entry.token)
        return {
            "tokens": [entry.token for entry in entries],
            "token_logprobs": [entry.logprob for entry in entries],
            "top_logprobs": [entry.top for entry in entries] if any(entry.top for entry in entries) else None,
            "text_offset": offsets,
        }


def embeddings(vectors: Vectors, model: str, form: str, spent: Spent) -> bytes:
    """Return the body of /v1/embeddings; `form` is 'float' or 'base64' (little-endian float32)."""
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(values) if form == "base64" else values}
        for index, values in enumerate(vectors.values)
    ]
    total = sum(vectors.tokens)
    used = {"prompt_tokens": total, "total_tokens": total, "spent": _spent(spent)}
    return encode({"object": "list", "data": data, "model": model, "usage": used})


def classes(vectors: Vectors, names: Sequence[str], head: dict[str, Any], spent: Spent) -> bytes:
    """Return the body of /classify; `head` has id, created and model."""
    data = []
    for index, probabilities in enumerate(vectors.values):
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        data.append(
            {"index": index, "label": names[best], "probs": probabilities, "num_classes": len(probabilities)}
        )  # fmt: skip
    total = sum(vectors.tokens)
    used = {
        "prompt_tokens": total,
        "total_tokens": total,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
        "spent": _spent(spent),
    }
    return encode({**head, "object": "list", "data": data, "usage": used})


def _chat_logprob(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _packed(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
