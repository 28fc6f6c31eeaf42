"""The four priorities of work for engines."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """Who goes first: the lower number, always."""

    INTERACTIVE = 0  # a person waits
    STANDARD = 1  # a program waits: a step of an agent
    BATCH = 2  # nobody waits
    FLYWHEEL = 3  # the factory's own work


NAMES = tuple(priority.name.lower() for priority in Priority)
