"""One request over HTTP to a released model, as a caller would make it, and its record on the ledger."""

from __future__ import annotations

import http.client
import urllib.parse
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.ledger.views import find_request

ASK: dict[str, tuple[str, dict[str, Any]]] = {
    "classify": ("/classify", {"input": "How do I parse a date from a string?"}),
    "complete": ("/v1/completions", {"prompt": "def ", "max_tokens": 16, "temperature": 0, "stream": True}),
    "chat": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 16, "stream": True},
    ),
    "embed": ("/v1/embeddings", {"input": "hello"}),
}
ASK["extract"] = ASK["chat"]


def probe(url: str, key: str, model: str, kind: str, ledger_root: Path) -> list[str]:
    """Ask `model` at `url`; return what does not hold: no answer, an empty one, or no record of it."""
    path, body = ASK[kind]
    status, request_id, answer = post(url, path, {"model": model, **body}, key)
    if status != 200:
        return [f"{model}: POST {path} answered {status}: {answer[:300].decode(errors='replace')}"]
    problems = []
    if body.get("stream") and not answer.rstrip().endswith(b"data: [DONE]"):
        problems.append(f"{model}: the stream of {path} did not end with [DONE]")
    entry = find_request(ledger_root, request_id)
    if entry is None or entry.outcome != "ok" or not entry.prompt_tokens:
        problems.append(f"{model}: request {request_id} has no proper record on the ledger: {entry}")
    return problems


def post(url: str, path: str, body: dict[str, Any], key: str) -> tuple[int, str, bytes]:
    """Return (status, request id, answer) of one POST; an empty `key` sends none."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=120)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    try:
        connection.request("POST", path, msgspec.json.encode(body), headers)
        response = connection.getresponse()
        return response.status, response.headers.get("x-request-id", ""), response.read()
    finally:
        connection.close()
