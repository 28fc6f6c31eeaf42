"""Data classes and how they combine: the highest label wins."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from tokenworks.core.errors import ConfigError


class Label(enum.IntEnum):
    """How far content may travel, from anywhere to a named few."""

    PUBLIC = 0
    INTERNAL = 1
    CONFIDENTIAL = 2
    RESTRICTED = 3

    @classmethod
    def parse(cls, text: str) -> Label:
        """Return the label named `text`; raise `ConfigError` naming the four that exist."""
        try:
            return cls[text.strip().upper()]
        except KeyError:
            known = " < ".join(str(label) for label in cls)
            raise ConfigError(f"label {text!r} does not exist; the labels are {known}") from None

    def __str__(self) -> str:
        return _TEXTS[self]


_TEXTS = tuple(label.name.lower() for label in Label)  # asked for several times a request


def highest(labels: Iterable[Label], *, default: Label = Label.PUBLIC) -> Label:
    """Return the highest of `labels`, or `default` when there are none."""
    return max(labels, default=default)
