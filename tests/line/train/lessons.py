"""What tests of training learn from, and plans that nobody had to measure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def chats(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return conversations of one question and one answer each, in the OpenAI fine-tuning format."""
    turns = ([{"role": "user", "content": asked}, {"role": "assistant", "content": said}] for asked, said in pairs)
    return "\n".join(json.dumps({"messages": turn}) for turn in turns).encode()


def recipe(method: str, *, steps: int, rate: float, precision: str = "f32", batch_tokens: int = 128) -> dict[str, Any]:
    """Return how a small model is trained."""
    return {
        "method": method, "steps": steps, "learning_rate": rate, "precision": precision, "batch_tokens": batch_tokens,
        "max_length": 128, "rank": 4, "seed": 0,
    }  # fmt: skip


def plan_for(recipe: dict[str, Any]) -> bytes:
    """Return the plan of `recipe`."""
    ones = dict.fromkeys(("tokens", "parameters", "trainable", "expected_s", "tokens_per_s", "epochs"), 1)
    said = {"method": recipe["method"], "steps": recipe["steps"], **ones, "why": "test", "recipe": recipe}
    return json.dumps(said).encode()
