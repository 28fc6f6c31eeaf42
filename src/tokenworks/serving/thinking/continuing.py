"""How a sample goes on from what was said before: a prompt grows, a conversation gets the words back as its last turn.

Knows request fields only, not who asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenworks.serving.thinking.samples import Draw


def longer_prompt(prompt: Any, draw: Draw) -> str:
    """Return the prompt of a completion that goes on."""
    return f"{prompt}{draw.after}{draw.cue}"


def more_turns(messages: Sequence[dict[str, Any]], draw: Draw) -> list[dict[str, Any]]:
    """Return the turns of a chat that goes on: most engines cannot go on within the model's own turn."""
    said, cue = {"role": "assistant", "content": draw.after}, {"role": "user", "content": draw.cue.strip()}
    return [*messages, said, cue]
