"""What every task's flywheel asks for right now. Looks and says; who acts on it is somebody else's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.task import Task
from tokenworks.flywheel.turn.ending import DUE
from tokenworks.flywheel.turn.state import LIVE, WAITING, Turns, TurnState
from tokenworks.flywheel.turn.trigger import Standing, parse_when, reason_to_turn
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import CatalogTask

CountNew = Callable[[str, float], tuple[int, int]]  # (task, since) -> corrections, feedback entries


@dataclass(frozen=True)
class Wanted:
    """Something to do for a task."""

    task: str
    # begin a turn; take up a broken one; see what its trial says; see what the trial of a person says
    action: Literal["turn", "go-on", "look", "guard"]
    reason: str


def wanted(catalog: Catalog, count_new: CountNew, *, now: float) -> list[Wanted]:
    """Return what is to do, task by task. A task that waits for a person wants nothing."""
    turns = Turns(catalog)
    found = (_of(one, turns.last(one.name), catalog, count_new, now) for one in catalog.tasks.all())
    return [one for one in found if one is not None]


def _of(known: CatalogTask, last: TurnState | None, catalog: Catalog, count_new: CountNew, now: float) -> Wanted | None:
    if last is not None and last.open:
        if last.step in WAITING:
            return None
        return Wanted(known.name, "look" if last.step in LIVE else "go-on", f"turn {last.number} is at {last.step}")
    current = catalog.releases.current(known.name)
    if current is None or not current.version or not known.spec:
        return None  # nothing answers yet, so there is nothing to improve
    if current.canary:
        return Wanted(known.name, "guard", f"{current.by} has {current.model}@{current.canary} on trial")
    since = last.until if last is not None else 0.0
    corrections, feedback = count_new(known.name, since)
    due = catalog.objects.get(DUE, known.name)
    standing = Standing(
        corrections=corrections,
        feedback=feedback,
        since_s=now - (last.started_at if last is not None else current.at),
        due=str(due.body.get("reason", "it is due")) if due is not None else "",
    )
    if due is not None and last is not None and due.created_at <= last.until:
        standing = Standing(corrections=corrections, feedback=feedback, since_s=standing.since_s)  # tried already
    try:
        reason = reason_to_turn(parse_when(msgspec.convert(known.spec, Task).turn.when), standing)
    except ConfigError as error:
        raise ConfigError(f"task {known.name}: {error}") from None
    return Wanted(known.name, "turn", reason) if reason else None
