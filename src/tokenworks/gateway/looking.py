"""What stands in a prompt raises its label: detectors over every string of the request. Passed in is who detects.

It can only raise: no decision relies on something being found (docs/decisions/0213-detection-is-asked-for.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from tokenworks.core.label import Label

INLINE_CHARACTERS = 4096  # a millisecond of the loop at most; what is longer goes to a thread
_decode = msgspec.json.Decoder().decode


class Looking:
    """Return the least label that the text of a request should carry."""

    def __init__(self, check: Callable[[str], Label]) -> None:
        self._check = check

    async def __call__(self, body: bytes) -> Label:
        """Look at `body`, a JSON object that was parsed before."""
        text = "\n".join(strings(_decode(body)))
        if len(text) <= INLINE_CHARACTERS:
            return self._check(text)
        return await asyncio.to_thread(self._check, text)


def strings(value: Any) -> list[str]:
    """Return every string in `value`, names of fields too, however deep."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, list):
            left.extend(reversed(one))
        elif isinstance(one, dict):
            left.extend(reversed([part for item in one.items() for part in item]))
    return found
