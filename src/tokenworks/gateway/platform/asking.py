"""One question of an eval to a model: by whichever endpoint its kind has, again while its engine starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.request import Answer, Answerer, Request
from tokenworks.gateway.releases import Releases

PATIENCE_S = 120.0  # for an engine to start
PAUSE_S = 0.5


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of a model and what it said."""

    model: str
    version: str
    input: list[dict[str, str]]
    text: str
    label: str = ""  # of the text
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    sampling: dict[str, Any] = {}
    request_id: str = ""

    def shown(self) -> dict[str, Any]:
        """Return OpenAI's sample object."""
        usage = {name: getattr(self, name) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")}
        return {
            "input": self.input,
            "output": [{"role": "assistant", "content": self.text}],
            "finish_reason": self.finish_reason,
            "model": self.model,
            "usage": {**usage, "total_tokens": self.prompt_tokens + self.completion_tokens},
            "error": None,
            "temperature": self.sampling.get("temperature", 1.0),
            "max_completion_tokens": self.sampling.get("max_completion_tokens", 0),
            "top_p": self.sampling.get("top_p", 1.0),
            "seed": self.sampling.get("seed", 0),
        }


Ask = Callable[[str, list[dict[str, str]], dict[str, Any]], Awaitable[Asked]]  # (model, messages, sampling)


class NotAllowedError(Exception):
    """The caller may not, or may no longer, ask this: the run cannot go on."""


def asking(answer: Answerer, releases: Releases, key_id: str, label: str) -> Ask:
    """Return how the models of a run are asked: in the name of key `key_id`, with text of `label`.

    What is asked for a measurement is not learned from. Raises `DataError` where there is no answer to this question,
    `NotAllowedError` where there will be none to any.
    """

    async def ask(model: str, messages: list[dict[str, str]], sampling: dict[str, Any]) -> Asked:
        served = await (releases.version(model) if "@" in model else releases.current(model))
        if served is not None and served.kind == "classify":
            text = next((one["content"] for one in reversed(messages) if one["role"] == "user"), "")
            request = Request(
                endpoint="classify",
                body={"model": model, "input": text, "store": False},
                key=key_id,
                label=label,
                priority="batch",
            )
            messages, sampling = [{"role": "user", "content": text}], {}
        else:
            body = {"model": model, "messages": messages, "store": False, **sampling}
            request = Request(endpoint="chat.completions", body=body, key=key_id, label=label, priority="batch")
        given = await patiently(answer, request)
        text, reason = _said(given, request.endpoint)
        return Asked(
            model=model,
            version=given.model_version,
            input=messages,
            text=text,
            label=given.label,
            finish_reason=reason,
            prompt_tokens=given.usage.prompt_tokens,
            completion_tokens=given.usage.completion_tokens,
            cached_tokens=given.usage.cached_tokens,
            sampling=sampling,
            request_id=given.request_id,
        )

    return ask


async def patiently(answer: Answerer, request: Request) -> Answer:
    """Ask, and again while the model is not there yet; each try stands on the ledger."""
    until = time.monotonic() + PATIENCE_S
    given = await answer(request)
    while given.status == 503 and time.monotonic() < until:
        await asyncio.sleep(PAUSE_S)
        given = await answer(request)
    return given


def _said(given: Answer, endpoint: str) -> tuple[str, str]:
    if given.status in (401, 403, 404):
        raise NotAllowedError(given.body["error"]["message"])
    if not given.ok:
        raise DataError(f"no answer ({given.status}): {given.body['error']['message']}")
    if endpoint == "classify":
        return str(given.body["data"][0]["label"]), "stop"
    choice = given.body["choices"][0]
    return str(choice["message"].get("content") or ""), str(choice.get("finish_reason") or "stop")
