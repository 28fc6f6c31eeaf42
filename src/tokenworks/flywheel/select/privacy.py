"""Personal data and secrets in what would be learned: secrets are set aside, structured personal data is masked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from tokenworks.flywheel.select.rows import Row, Sieve
from tokenworks.line.ingest.detect.finding import mask
from tokenworks.line.ingest.detect.personal import find_personal
from tokenworks.line.ingest.detect.secrets import find_secrets

SECRET = "secret"
# Whatever the detectors find has a digit, an @, a joiner, a long word or a name of secrets; most questions do not.
_WORTH_A_LOOK = re.compile(r"[0-9@_:=]|\w{16}|(?i:pass|pwd|secret|token|key|auth|cred|private|sig)")


def clean(sieve: Sieve) -> int:
    """Mask personal data, set rows with secrets aside; return how many rows were masked."""
    gone: list[int] = []
    masked = 0
    for at, row in enumerate(sieve.rows):
        texts = _texts(row)
        if not any(map(_WORTH_A_LOOK.search, texts)):
            continue
        if any(find_secrets(text) for text in texts):
            gone.append(at)
        elif any(find_personal(text) for text in texts):
            sieve.rows[at] = _masked(row)
            masked += 1
    sieve.drop(gone, SECRET)
    return masked


def has_secret(text: str) -> bool:
    """Tell whether `text` holds a key, a password or the like."""
    return bool(_WORTH_A_LOOK.search(text)) and bool(find_secrets(text))


def masked_text(text: str) -> str:
    """Return `text` with the kind in place of each piece of personal data."""
    return mask(text, find_personal(text)) if _WORTH_A_LOOK.search(text) else text


def masked_messages(messages: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the messages with personal data masked in every text of theirs."""
    return tuple(_masked_value(message) for message in messages)


def _texts(row: Row) -> list[str]:
    texts = [row.text, row.answer, row.rejected]
    return texts + [text for message in row.messages for text in _strings(message)]


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for part in parts for text in _strings(part)]


def _masked(row: Row) -> Row:
    return msgspec.structs.replace(
        row,
        text=masked_text(row.text),
        answer=masked_text(row.answer) if row.messages else row.answer,  # a label or a document's name stays one
        rejected=masked_text(row.rejected),
        messages=masked_messages(row.messages),
    )


def _masked_value(value: Any) -> Any:
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, dict):
        return {key: _masked_value(part) for key, part in value.items()}
    return [_masked_value(part) for part in value] if isinstance(value, list | tuple) else value
