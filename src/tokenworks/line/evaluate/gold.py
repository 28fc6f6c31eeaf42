"""Gold rows as they are asked and judged: read from JSON lines, each with an id that depends on its content only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.ids import canonical_json, sha256_hex


class Gold(msgspec.Struct, frozen=True, kw_only=True):
    """One item to ask."""

    id: str
    row: dict[str, Any]  # what the grader compares with: 'label', 'answer' or 'relevant'
    text: str = ""  # classify, embed: what is asked
    messages: tuple[dict[str, Any], ...] = ()  # chat, extract: the conversation before the gold answer
    cluster: str = ""


def read_gold(data: bytes, kind: str, *, name: str = "gold") -> list[Gold]:
    """Return the rows of JSONL `data` for a task of `kind`; raise `DataError` naming the line and the way out."""
    items: list[Gold] = []
    seen: dict[str, int] = {}
    for where, row in read_rows(data, name):
        identity = sha256_hex(canonical_json(row))[:16]
        seen[identity] = seen.get(identity, 0) + 1
        if seen[identity] > 1:  # the same row twice: still two items, still the same names in every evaluation
            identity = f"{identity}-{seen[identity]}"
        items.append(_item(row, kind, identity, where))
    if not items:
        raise DataError(f"{name}: no items to evaluate on; give check.gold, or more examples to hold out")
    return items


def without_leaks(gold: list[Gold], train: list[Gold]) -> tuple[list[Gold], tuple[str, ...]]:
    """Return the items that were not trained on word for word, and what was left out.

    Raises `DataError` where all were: such a gold set measures memory.
    """
    known = {_asked(row) for row in train}
    kept = [want for want in gold if _asked(want) not in known]
    if gold and not kept:
        raise DataError(f"all {len(gold)} gold items stand in the training data: nothing is left to judge on")
    leaks = len(gold) - len(kept)
    return kept, ((f"{leaks} of {len(gold)} gold items stand in the training data and were left out",) if leaks else ())


def _asked(row: Gold) -> bytes:
    return canonical_json([row.text, *row.messages])


def read_rows(data: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where it stands, object) for each line of JSONL that is not blank."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            where = f"{name} line {number}"
            yield where, _row(line, where)


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: not JSON: {error}; one JSON object on each line") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: a {type(row).__name__}, but each line must be a JSON object")
    return row


def _item(row: dict[str, Any], kind: str, identity: str, where: str) -> Gold:
    cluster = str(row.get("cluster") or row.get("group") or "")  # whoever asked it, or the conversation
    if kind == "classify":
        text = _text(row, "text", where)
        return Gold(id=identity, row={"label": _text(row, "label", where)}, text=text, cluster=cluster)
    if kind == "embed":
        relevant = [row["document"]] if "document" in row else row.get("relevant")  # a click, or whoever judged
        if not isinstance(relevant, list) or not relevant:
            raise DataError(f'{where}: "relevant" must list at least one document id, or "document" name it')
        return Gold(id=identity, row={"relevant": relevant}, text=_text(row, "query", where), cluster=cluster)
    messages = row.get("messages")
    if not isinstance(messages, list) or len(messages) < 2 or not all(isinstance(m, dict) for m in messages):
        raise DataError(f'{where}: "messages" must list a question and its gold answer as objects')
    last = messages[-1]
    if last.get("role") != "assistant" or not isinstance(last.get("content"), str):
        raise DataError(f'{where}: the last message must be the gold answer, role "assistant" with text content')
    return Gold(id=identity, row={"answer": last["content"]}, messages=tuple(messages[:-1]), cluster=cluster)


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise DataError(f'{where}: "{key}" must be a text, it is {value!r}')
    return value
