"""Gold items as OpenAI requests, and the answer read out of the OpenAI response."""

from __future__ import annotations

from typing import Any

from tokenworks.core.request import Endpoint, Request
from tokenworks.line.evaluate.asking import Reply
from tokenworks.line.evaluate.gold import Gold


def question(gold: Gold, *, kind: str, model: str, max_tokens: int, schema: dict[str, Any] | None) -> Request:
    """Return what is asked for `gold`: greedy, so that the same model gives the same answer again."""
    endpoint: Endpoint = "chat.completions"
    body: dict[str, Any] = {"model": model}
    if kind == "classify":
        endpoint = "classify"
        body["input"] = gold.text
    else:
        body |= {"messages": list(gold.messages), "temperature": 0, "max_tokens": max_tokens}
        if schema is not None:
            form = {"name": "answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
    return Request(endpoint=endpoint, body=body)


def answered(reply: Reply, *, kind: str) -> tuple[str, str]:
    """Return (answer, error); one of the two is empty."""
    if reply.error:
        return "", reply.error
    try:
        if kind == "classify":
            return str(reply.body["data"][0]["label"]), ""
        return str(reply.body["choices"][0]["message"]["content"] or ""), ""
    except (KeyError, IndexError, TypeError) as error:
        return "", f"the response has no answer in it ({type(error).__name__}: {error})"


def confidence_of(reply: Reply) -> float | None:
    """Return the probability that a classifier gives the class that it names; None where the answer has none."""
    try:
        return float(max(reply.body["data"][0]["probs"]))
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def finish_of(reply: Reply, answer: str, *, kind: str) -> str:
    """Return how an answer ended that is not whole: 'length' or 'empty'; nothing for a whole one."""
    if kind == "classify" or reply.error:
        return ""
    choices = reply.body.get("choices") or [{}]
    if isinstance(choices[0], dict) and choices[0].get("finish_reason") == "length":
        return "length"
    return "" if answer.strip() else "empty"
