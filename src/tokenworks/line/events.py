"""What the line says while it works: a stream of small facts for a screen, a log or another process."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """Something happened to a stage of a task."""

    task: str
    stage: str


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """A stage began to work."""


class Advanced(Event, frozen=True, kw_only=True, tag="advanced"):
    """A stage is `done` of `total` far, in `unit`."""

    done: float
    total: float | None = None
    unit: str = ""
    note: str = ""


class Finished(Event, frozen=True, kw_only=True, tag="finished"):
    """A stage has its outputs; `hit` when they were known already."""

    seconds: float
    hit: bool = False


class Failed(Event, frozen=True, kw_only=True, tag="failed"):
    """A stage ended with an error; the message names the way out."""

    message: str


class Said(Event, frozen=True, kw_only=True, tag="said"):
    """A line worth reading: a verdict, a release, a warning."""

    text: str


AnyEvent = Started | Advanced | Finished | Failed | Said
Listener = Callable[[AnyEvent], None]


def unheard(event: AnyEvent) -> None:
    """Drop `event`: nobody listens."""
