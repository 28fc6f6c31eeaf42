"""Text to token ids and back, with the tokenizer of the model's own folder."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.serving.engine import ChatPrompt

REPLACEMENT = "\ufffd"
LONGEST_CHARACTER = 4  # bytes of UTF-8, and so the most tokens that one character can be spread over


class TextStream(Protocol):
    """Turns the tokens of one answer into text as they come; never gives half a character."""

    def feed(self, ids: Sequence[int]) -> str:
        """Return the text that has become certain with `ids`."""
        ...

    def finish(self) -> str:
        """Return what was held back: bytes that never became a character, as replacement characters."""
        ...


class Tokens:
    """The tokenizer of a folder. `encode` gives the same ids as `transformers` does for the same folder."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer  # a compiled library: only engine processes load it

        path = folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            raise EngineError(f"{path} cannot be read as a tokenizer ({error}); save it again") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._last: tuple[str, list[int]] = ("", [])
        self._bytes = _byte_table(self._tokenizer)

    @property
    def size(self) -> int:
        """Return how many tokens the vocabulary has, added ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text` with the special tokens that the model wants; a `ChatPrompt` has its own."""
        if self._last[0] is text:
            return self._last[1]  # counted a moment ago
        ids = list(self._tokenizer.encode(text, add_special_tokens=not isinstance(text, ChatPrompt)).ids)
        self._last = (text, ids)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a whole answer, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def text_of(self, token: int) -> str:
        """Return one token as readable text, special ones by name."""
        if self._bytes is not None and 0 <= token < len(self._bytes) and self._bytes[token]:
            return self._bytes[token].decode("utf-8", "replace")
        return str(self._tokenizer.id_to_token(token) or "")

    def stream(self) -> TextStream:
        """Return a fresh stream for one answer."""
        if self._bytes is not None:
            return ByteStream(self._bytes)
        return WindowStream(self)

    def raw_vocabulary(self) -> list[bytes]:
        """Return the bytes that each token stands for, as a grammar needs them; empty for special tokens."""
        if self._bytes is not None:
            return list(self._bytes)
        return _pieces_table(self._tokenizer)


class ByteStream:
    """For byte-level vocabularies: a table look-up and an incremental UTF-8 decoder."""

    def __init__(self, table: Sequence[bytes]) -> None:
        self._table = table
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Sequence[int]) -> str:
        """Return the text that has become certain with `ids`."""
        table = self._table
        return self._decoder.decode(b"".join([table[token] for token in ids if token < len(table)]))

    def finish(self) -> str:
        """Return what was held back."""
        return self._decoder.decode(b"", final=True)


class WindowStream:
    """For every other vocabulary: decode a short window again and take what it has grown by."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._ids: list[int] = []
        self._start = 0  # where the window begins
        self._given = 0  # how many ids have become text

    def feed(self, ids: Sequence[int]) -> str:
        """Return the text that has become certain with `ids`."""
        self._ids.extend(ids)
        before, now = self._window()
        waiting = len(self._ids) - self._given
        if now.endswith(REPLACEMENT) and waiting < LONGEST_CHARACTER:
            return ""
        return self._take(before, now)

    def finish(self) -> str:
        """Return what was held back."""
        return self._take(*self._window())

    def _window(self) -> tuple[str, str]:
        before = self._tokens.decode(self._ids[self._start : self._given])
        return before, self._tokens.decode(self._ids[self._start :])

    def _take(self, before: str, now: str) -> str:
        if len(now) <= len(before):
            self._given = len(self._ids)  # a token without text of its own, such as a leading space
            return ""
        self._start, self._given = self._given, len(self._ids)
        return now[len(before) :]


class StopFilter:
    """Lets text through up to the first stop string, holding back what might become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found = ""  # the stop string that came

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return bool(self.found)

    def feed(self, text: str) -> str:
        """Return the part of `text` that is certainly before any stop string."""
        if not self._stops or self.stopped:
            return "" if self.stopped else text
        text = self._held + text
        found = [(place, stop) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            place, self.found = min(found)
            self._held = ""
            return text[:place]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """Return what was held back and did not become a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


def _byte_table(tokenizer: Any) -> list[bytes] | None:
    """Return the bytes of every token of a byte-level vocabulary, None where the decoder is another one."""
    state = msgspec.json.decode(tokenizer.to_str())
    if (state.get("decoder") or {}).get("type") != "ByteLevel":
        return None
    alphabet = {character: byte for byte, character in _byte_characters().items()}
    special = {entry["id"] for entry in state.get("added_tokens", []) if entry.get("special")}
    table = [b""] * _span(tokenizer)
    for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
        if number in special:
            continue
        known = all(character in alphabet for character in token)
        table[number] = bytes(alphabet[character] for character in token) if known else token.encode()
    return table


def _pieces_table(tokenizer: Any) -> list[bytes]:
    """Return the bytes of SentencePiece-like tokens: a low line block is a space, <0xE4> is one byte."""
    state = msgspec.json.decode(tokenizer.to_str())
    special = {entry["id"] for entry in state.get("added_tokens", []) if entry.get("special")}
    table = [b""] * _span(tokenizer)
    for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
        if number in special:
            continue
        byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
        table[number] = bytes([int(token[3:5], 16)]) if byte else token.replace("\u2581", " ").encode()
    return table


def _span(tokenizer: Any) -> int:
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def _byte_characters() -> dict[int, str]:
    """Return the printable stand-in of each byte in byte-level BPE (Radford 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
