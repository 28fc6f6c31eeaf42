"""Whether one answer is right, by its text alone: what evaluation grades by and what reinforcement rewards.

It stands beside the stages because both need it and they may not know each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from tokenworks.core.errors import ConfigError, DataError

MARK = "####"
Reward = Callable[[str, str], float]
RewardName = Literal["exact_match", "json_match", "contains", "regex"]
_NUMBER = re.compile(r"-?(?:\d[\d,]*)?\.?\d+")


class JsonMatch(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer compares with a JSON value."""

    whole: bool
    fields: float  # F1 over (path, value) pairs of the leaves
    valid: bool  # whether the answer is JSON at all


def exact_match(gold: str, answered: str) -> bool:
    """Return whether the final number is right where `gold` marks one with '####', else the text, blanks evened out."""
    if MARK in gold:
        wanted = final_number(gold)
        return wanted is not None and final_number(answered) == wanted
    return _plain(answered) == _plain(gold)


def json_match(gold: str, answered: str) -> JsonMatch:
    """Compare `answered` with the JSON text `gold`; order of keys and 1 against 1.0 do not matter."""
    wanted = set(_leaves(msgspec.json.decode(gold)))
    try:
        got = set(_leaves(msgspec.json.decode(answered.strip())))
    except (msgspec.DecodeError, UnicodeEncodeError):
        return JsonMatch(whole=False, fields=0.0, valid=False)
    fields = 2 * len(wanted & got) / (len(wanted) + len(got))
    return JsonMatch(whole=wanted == got, fields=fields, valid=True)


def reward_named(name: str) -> Reward:
    """Return (gold, answered) -> reward in [0, 1]; raise `ConfigError` naming those there are.

    A JSON answer earns the F1 of its fields, which is 1 only where all of it is right: most first tries get some field
    right, and few the whole. `contains` asks for the gold text inside the answer, `regex` for the whole answer to match
    the gold pattern.
    """
    rewards: dict[str, Reward] = {
        "exact_match": lambda gold, answered: float(exact_match(gold, answered)),
        "json_match": lambda gold, answered: json_match(gold, answered).fields,
        "contains": lambda gold, answered: float(_plain(gold) in _plain(answered)),
        "regex": _regex,
    }
    if name not in rewards:
        raise ConfigError(f"no reward is called {name!r}; there are {', '.join(rewards)}")
    return rewards[name]


def final_number(text: str) -> Decimal | None:
    """Return the number after the last '####', or else the last number of `text`; '1,200.0' equals '1200'."""
    found = _NUMBER.findall(text.rpartition(MARK)[2])
    try:
        return Decimal(found[-1].replace(",", "")) if found else None
    except InvalidOperation:
        return None


def _regex(gold: str, answered: str) -> float:
    try:
        return float(re.fullmatch(gold, answered.strip(), re.DOTALL) is not None)
    except re.error as error:
        raise DataError(f"the right answer {gold!r} is no regular expression: {error}; mend the example") from None


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str, Any]]:
    """Yield (path, type, value) of every leaf; an empty list or object is a leaf too."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    elif isinstance(value, bool) or value is None:
        yield path, type(value).__name__, value
    elif isinstance(value, int | float):
        yield path, "number", value
    else:
        yield path, type(value).__name__, str(value)
