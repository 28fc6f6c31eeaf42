"""Candidates: every way of making one that the selection allows, each a run of the line."""

from __future__ import annotations

import time

from tokenworks.core.errors import ErasedError, TokenworksError
from tokenworks.flywheel.turn.planning import what_can_be_decided
from tokenworks.flywheel.turn.selecting import additions
from tokenworks.flywheel.turn.state import Tried, TurnState
from tokenworks.flywheel.turn.works import Done, Works, ends, pinned
from tokenworks.line.produce import Way, usual_way


def train_step(works: Works, state: TurnState) -> Done:
    """Make the candidates. One that cannot be made is on record with the reason; the others go on."""
    task = pinned(state)
    material = works.producer.gather(task, additions(state))
    incumbent = works.catalog.models.find(state.incumbent) if state.incumbent else None
    plan = what_can_be_decided(works.runner.artifacts, task, material, incumbent)
    for line in plan:
        works.say(task.name, line)
    tried = tuple(_try(works, state, way) for way in [usual_way(task, material)])
    made = [one for one in tried if not one.failed]
    if not made:
        return ends("failed", "; ".join(f"{one.strategy}: {one.failed}" for one in tried), tried=tried)
    if incumbent is not None and all(one.key == incumbent.stage_key for one in made):
        return ends("unchanged", f"the same inputs made {incumbent.ref} before", tried=tried)
    says = ", ".join(f"{one.strategy} in {one.seconds:.1f} s" for one in made)
    return Done(says, {"tried": tried, "plan": plan, "step": "gate"})


def _try(works: Works, state: TurnState, way: Way) -> Tried:
    started = time.monotonic()
    try:
        trained = works.producer.train(pinned(state), way)
    except ErasedError:
        raise  # what was selected is gone on purpose: the workflow selects anew
    except TokenworksError as error:
        return Tried(strategy=way.name, failed=str(error), seconds=time.monotonic() - started)
    return Tried(strategy=way.name, weights=trained.weights, key=trained.key, seconds=time.monotonic() - started)
