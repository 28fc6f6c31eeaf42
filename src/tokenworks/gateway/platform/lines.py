"""The lines of a batch: what each asks, what is wrong with them, and what is written of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokenworks.core.request import Answer
from tokenworks.gateway.platform.batches import Wrong

MOST_WRONG = 100  # named; one is enough to fail the batch


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request."""

    custom_id: Annotated[str, Meta(min_length=1, max_length=512)]
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart must know of a line that was written: which one it is, and what it was worth."""

    line: int
    label: str = ""
    usage: list[int] = []  # prompt, cached and completion tokens


read_line = msgspec.json.Decoder(Line).decode
read_written = msgspec.json.Decoder(Written).decode


def check(lines: Iterable[tuple[int, bytes]], endpoint: str) -> tuple[int, list[Wrong]]:
    """Return how many lines there are, and what is wrong with them: never more than hashes of them in memory."""
    seen: set[bytes] = set()
    wrong: list[Wrong] = []
    total = 0
    for number, data in lines:
        total += 1
        wrong += _wrong(number, data, endpoint, seen)
        if len(wrong) >= MOST_WRONG:
            break
    if not total:
        wrong.append(Wrong(code="empty_file", message="the input file has no lines; send one request on each"))
    return total, wrong


def _wrong(number: int, data: bytes, endpoint: str, seen: set[bytes]) -> Iterator[Wrong]:
    try:
        line = read_line(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        yield Wrong(code="invalid_json_line", message=f"line {number}: {error}", line=number)
        return
    known = hashlib.blake2b(line.custom_id.encode(), digest_size=16).digest()
    if known in seen:
        message = f"line {number}: custom_id {line.custom_id[:80]!r} stands twice in the file; give each line its own"
        yield Wrong(code="duplicate_custom_id", message=message, line=number, param="custom_id")
    seen.add(known)
    if line.url != endpoint:
        message = f"line {number}: url is {line.url[:80]!r}, the batch is for {endpoint}"
        yield Wrong(code="mismatched_url", message=message, line=number, param="url")
    if line.body.get("stream"):
        message = f"line {number}: a batch has nobody to stream to; leave stream out"
        yield Wrong(code="invalid_request", message=message, line=number, param="body.stream")


def answered(batch: str, number: int, custom_id: str, answer: Answer) -> bytes:
    """Return what is written of a line that was asked; `label`, `line` and `usage` are ours."""
    response = {"status_code": answer.status, "request_id": answer.request_id, "body": answer.body}
    used = [answer.usage.prompt_tokens, answer.usage.cached_tokens, answer.usage.completion_tokens]
    told = {"label": answer.label, "usage": used}
    return _encode(batch, number, {"custom_id": custom_id, "response": response, "error": None, **told})


def unasked(batch: str, number: int, custom_id: str, code: str, message: str) -> bytes:
    """Return what is written of a line that was never asked."""
    error = {"code": code, "message": message}
    return _encode(batch, number, {"custom_id": custom_id, "response": None, "error": error})


def _encode(batch: str, number: int, fields: dict[str, Any]) -> bytes:
    id = f"batch_req-{batch.partition('-')[2]}-{number:08d}"
    return msgspec.json.encode({"id": id, **fields, "line": number}) + b"\n"
