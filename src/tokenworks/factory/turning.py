"""The flywheel over one home: turns, what they held back, and what people decide about them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec

from tokenworks.core.model import Release
from tokenworks.factory.feedback import Desk
from tokenworks.factory.making import Making, user
from tokenworks.flywheel.select.quarantine import pardon
from tokenworks.flywheel.turn.state import Turns, TurnState
from tokenworks.flywheel.turn.story import story
from tokenworks.flywheel.turn.workflow import Turner
from tokenworks.flywheel.turn.works import Works


class Turning(Making):
    """A home whose tasks learn from what they are told."""

    @cached_property
    def _watches(self) -> dict[str, Any]:
        return {}

    @property
    def turns(self) -> Turns:
        """Every turn there was."""
        return Turns(self.catalog)

    @property
    def desk(self) -> Desk:
        """Where feedback is taken without a server."""
        return Desk(self, user())

    def count_new(self, task: str, since: float) -> tuple[int, int]:
        """Return how many corrections and how many feedback entries came for `task` after `since`."""
        return self.lookup.count(task, since)

    @property
    def turner(self) -> Turner:
        """What turns tasks."""
        return Turner(Works(self.producer, self.ledger_root, self.bodies, self.clock, self._watches))

    def turn(self, name: str, *, reason: str = "asked for") -> TurnState:
        """Take the open turn of task `name` as far as it goes now, or begin a new one."""
        return self.turner.run(self.task(name), by=f"turn, {user()}", reason=reason)

    def guard(self, name: str) -> Release | None:
        """Look at a trial of task `name` that a person began; return the step that its test decided on, if any."""
        return self.turner.guard(self.task(name))

    def decide_turn(self, name: str, *, approve: bool, reason: str) -> TurnState:
        """Say yes or no to a turn that waits for a person."""
        return self.turner.decide(name, approve=approve, by=user(), reason=reason)

    def turn_story(self, state: TurnState) -> list[str]:
        """Return a turn on one screen."""
        return story(state, self.artifacts)

    def quarantine(self, name: str) -> list[dict[str, Any]]:
        """Return what the last turn of task `name` held back, with reasons."""
        digest = self.turns.find(name).selection.get("parts", {}).get("quarantine")
        if not digest:
            return []
        rows: list[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode_lines(self.artifacts.get_bytes(digest))
        return rows

    def pardon(self, name: str, *, feedback_id: str = "", principal: str = "", why: str) -> None:
        """Trust one feedback entry, or all of a principal, from the next turn of task `name` on."""
        pardon(
            self.catalog,
            self.task(name).name,
            feedback_id=feedback_id,
            principal=principal,
            by=user(),
            why=why,
            at=self.clock.now(),
        )
