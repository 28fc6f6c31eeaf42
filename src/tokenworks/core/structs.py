"""Struct classes made ready before threads use them.

msgspec works out the types of a class when it is first decoded; a second thread that decodes the same class meanwhile
finds them half made and takes the process down (0.22, and every release before it).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


def prepare() -> int:
    """Let msgspec work out every struct class that has been imported so far; return how many there are.

    For programs with threads, before they begin.
    """
    count = 0
    for made in _below(msgspec.Struct):
        try:
            msgspec.json.Decoder(made)
        except (
            TypeError,
            NameError,
        ):  # one that is never decoded: it holds a callable, or names types that are not here
            continue
        count += 1
    return count


def _below(base: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for made in base.__subclasses__():
        yield made
        yield from _below(made)
