"""What an answer comes to, so that answers can be voted on: the last word of a text, in one spelling."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from tokenworks.serving.thinking.patterns import Pattern

Read = Callable[[str], str]  # "" where a text has no answer

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_MARKED = re.compile(r"(?:####|\b(?:final )?answer(?: is)?\s*:?)[ \t]+([^\n]+)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d[\d,_ ]*(?:\.\d+)?")
_TRAILING = " \t.;:!"


def read_answer(text: str) -> str:
    r"""Return what `text` ends in: JSON as a whole, `\boxed{}`, what follows `####` or "answer:", else its last line.

    One spelling for each number and each JSON value, so that equal answers are equal texts.
    """
    whole = text.strip()
    if whole[:1] in ("{", "["):
        try:
            return json.dumps(json.loads(whole), sort_keys=True, separators=(",", ":"))
        except (ValueError, RecursionError):
            pass  # it only looks like JSON
    for mark in (_BOXED, _MARKED):
        found = mark.findall(whole)
        if found:
            return spelled(found[-1])
    return spelled(whole.rpartition("\n")[2])


def reader(pattern: str) -> Read:
    """Return how answers are read by a caller's own pattern: its first group, or all of it, at its last match."""
    if not pattern:
        return read_answer
    compiled = Pattern(pattern)

    def read(text: str) -> str:
        return spelled(compiled.last(text))

    return read


def spelled(answer: str) -> str:
    """Return an answer in one spelling: no space or comma within a number, no zero behind a point."""
    plain = " ".join(answer.split()).strip(_TRAILING)
    if not _NUMBER.fullmatch(plain):
        return plain.casefold()
    number = re.sub(r"[,_ ]", "", plain).removeprefix("+")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return number
