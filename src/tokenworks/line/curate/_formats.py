"""Read examples from CSV or JSON lines, one at a time, each with its line. Knows the shapes, nothing of their use."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.ids import canonical_json

ASKED = ("text", "question", "prompt")
ANSWERED = ("label", "category", "intent", "answer", "completion")
LINE_BYTES = 16 << 20
_ROLES = ("system", "developer", "user", "assistant", "tool")
_DELIMITERS = (",", ";", "\t")


class Row(msgspec.Struct, frozen=True, gc=False):
    """One example: what is asked, what the answer should be, and the messages where it came as a conversation."""

    line: int
    text: str
    answer: str
    group: str = ""
    messages: tuple[dict[str, Any], ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    request_id: str = ""
    at: float = 0.0


class Malformed(msgspec.Struct, frozen=True):
    """A line that is not an example, and why."""

    line: int
    reason: str


def read_rows(file: BinaryIO, name: str) -> Iterator[Row | Malformed]:
    """Yield the examples in `file` in order; `name` stands in errors.

    JSON lines hold `{"messages": [...]}` or one of `text|question|prompt` with one of
    `label|category|intent|answer|completion`; a CSV file has such a header. Raises `DataError` where the whole
    file cannot be read: another encoding, no usable header, a line without end.
    """
    lines = _lines(file, name)
    number, line = next((each for each in lines if each[1].strip()), (0, ""))
    if not line:
        return
    if line.lstrip().startswith("["):
        raise DataError(f"{name}: a JSON array; write one object per line (JSON lines)")
    if line.lstrip().startswith("{"):
        yield _from_json(number, line)
        for number, line in lines:
            if line.strip():
                yield _from_json(number, line)
    else:
        yield from _from_csv(lines, header=line, first=number, name=name)


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    number = 0
    while raw := file.readline(LINE_BYTES + 1):
        number += 1
        if len(raw) > LINE_BYTES:
            raise DataError(f"{name} line {number}: longer than {LINE_BYTES >> 20} MB; a line is one example")
        if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{name}: UTF-16; save it as UTF-8")
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{name} line {number}: not UTF-8 at byte {error.start}; save it as UTF-8") from None


def _from_json(line: int, text: str) -> Row | Malformed:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return Malformed(line, f"not valid JSON: {error}")
    if not isinstance(value, dict):
        return Malformed(line, "a line must be a JSON object")
    made = _conversation(value) if "messages" in value else _pair(value)
    if isinstance(made, str):
        return Malformed(line, made)
    group, at = value.get("group", ""), value.get("at", 0.0)
    if not isinstance(at, int | float) or isinstance(at, bool):
        return Malformed(line, f"at is {at!r}; needed are seconds since 1970")
    return Row(
        line=line,
        text=made[0],
        answer=made[1],
        group="" if group is None else str(group),
        messages=tuple(value.get("messages") or ()),
        tools=tuple(value.get("tools") or ()),
        request_id=str(value.get("request_id", "")),
        at=float(at),
    )


def _pair(value: dict[str, Any]) -> tuple[str, str] | str:
    """Return what is asked and answered, or what is wrong with it."""
    asked = next((key for key in ASKED if key in value), None)
    answered = next((key for key in ANSWERED if key in value), None)
    if asked is None or answered is None:
        known = f"one of {', '.join(ASKED)} and one of {', '.join(ANSWERED)}, or messages"
        return f"keys {', '.join(sorted(map(str, value))) or '(none)'}; needed are {known}"
    text, answer = value[asked], value[answered]
    if not isinstance(text, str):
        return f"{asked} is {_kind(text)}; needed is a string"
    if isinstance(answer, dict | list):  # the answer of an extract task may be written as JSON itself
        return text, canonical_json(answer).decode()
    if isinstance(answer, bool) or not isinstance(answer, str | int):
        return f"{answered} is {_kind(answer)}; needed is a string"
    return text, str(answer).strip()


def _conversation(value: dict[str, Any]) -> tuple[str, str] | str:
    messages = value["messages"]
    if not isinstance(messages, list) or len(messages) < 2:
        return "messages must be a list of at least a question and its answer"
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            return f"messages[{place}] needs a role, one of {', '.join(_ROLES)}"
        if _content(message) is None:
            return f"messages[{place}] needs content: a string, or parts of type text"
    *before, last = messages
    if last["role"] != "assistant":
        return f"the last message is of {last['role']}; it must be the assistant's: the answer to learn"
    # System messages are the same in every row: left in, all conversations would look alike.
    asked = [message for message in before if message["role"] not in ("system", "developer")]
    if not asked:
        return "no message of a user before the answer"
    calls = last.get("tool_calls")
    answer = _content(last) or (canonical_json(calls).decode() if calls else "")
    return "\n".join(_content(message) or "" for message in asked), answer.strip()


def _content(message: dict[str, Any]) -> str | None:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        return "\n".join(part["text"] for part in content)
    return "" if content is None and message.get("tool_calls") else None


def _from_csv(lines: Iterator[tuple[int, str]], *, header: str, first: int, name: str) -> Iterator[Row | Malformed]:
    delimiter, columns = _columns(header, f"{name} line {first}")
    asked = next(columns.index(key) for key in ASKED if key in columns)
    answered = next(columns.index(key) for key in ANSWERED if key in columns)
    group = columns.index("group") if "group" in columns else None
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    while True:
        start = first + reader.line_num + 1  # a quoted text may span lines: name the one it begins on
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Malformed(start, f"{error}; for texts above {csv.field_size_limit() >> 10} KB use JSON lines")
            continue
        if not fields:
            continue
        if len(fields) != len(columns):
            reason = f"{len(fields)} fields, the header has {len(columns)}; put texts with {delimiter!r} in quotes"
            yield Malformed(start, reason)
            continue
        yield Row(
            line=start,
            text=fields[asked],
            answer=fields[answered].strip(),
            group=fields[group].strip() if group is not None else "",
        )


def _columns(header: str, where: str) -> tuple[str, list[str]]:
    for delimiter in _DELIMITERS:
        try:
            columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter))]
        except (csv.Error, StopIteration):
            continue
        if set(ASKED) & set(columns) and set(ANSWERED) & set(columns):
            return delimiter, columns
    shown = header.strip()[:80]
    raise DataError(
        f"{where}: header {shown!r} names no example; needed are a column {' | '.join(ASKED)} "
        f"and a column {' | '.join(ANSWERED)}"
    )


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
