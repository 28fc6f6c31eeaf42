"""Candidates: every way of making one that task and selection allow, each a run of the line."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tokenworks.core.errors import ErasedError, TokenworksError
from tokenworks.core.task import Task
from tokenworks.flywheel.candidates import Strategy, available, inputs_of
from tokenworks.flywheel.turn.distilling import Lessons, lessons
from tokenworks.flywheel.turn.ending import DUE
from tokenworks.flywheel.turn.planning import what_can_be_decided
from tokenworks.flywheel.turn.selecting import additions
from tokenworks.flywheel.turn.state import Tried, TurnState
from tokenworks.flywheel.turn.works import Done, Works, ends, pinned
from tokenworks.line.produce import Way, usual_way
from tokenworks.line.recipes import Material


def train_step(works: Works, state: TurnState) -> Done:
    """Make the candidates. One that cannot be made is on record with the reason; the others go on."""
    task = pinned(state)
    material = works.producer.gather(task, additions(state))
    incumbent = works.catalog.models.find(state.incumbent) if state.incumbent else None
    plan = what_can_be_decided(works.runner.artifacts, task, material, incumbent)
    choice = available(task, _counts(works, state, material), incumbent=incumbent is not None)
    for line in (*plan, *(f"no {name}: {why}" for name, why in choice.left_out.items())):
        works.say(task.name, line)
    tainted = _has_to_unlearn(works, task)
    fresh = [one for one in choice.strategies if not (tainted and one.from_incumbent)]
    tried = tuple(_try(works, state, task, material, one) for one in fresh)
    reasons: dict[str, str] = {
        **choice.left_out,
        **{one.name: tainted for one in choice.strategies if one not in fresh},
    }
    left_out = tuple(Tried(strategy=name, failed=why) for name, why in reasons.items())
    made = [one for one in tried if not one.failed]
    changes: dict[str, Any] = {
        "tried": (*tried, *left_out),
        "plan": plan,
        "engine_s": state.engine_s + sum(one.teacher_s for one in tried),
    }
    if not made:
        return ends("failed", "; ".join(f"{one.strategy}: {one.failed}" for one in changes["tried"]), **changes)
    if incumbent is not None and all(one.key == incumbent.stage_key for one in made):
        return ends("unchanged", f"the same inputs made {incumbent.ref} before", **changes)
    says = ", ".join(f"{one.strategy} in {one.seconds:.1f} s" for one in made)
    return Done(says, {**changes, "step": "gate"})


def _try(works: Works, state: TurnState, task: Task, material: Material, strategy: Strategy) -> Tried:
    """Make one candidate; whatever goes wrong with it is its own affair."""
    started, learned = time.monotonic(), Lessons()
    try:
        if strategy.name == "distil":
            learned = lessons(works, state, task)
            material = works.producer.gather(task, learned.added_to(works.runner.artifacts, additions(state)))
        trained = works.producer.train(task, _way(works, state, task, material, strategy))
    except ErasedError:
        raise  # what was selected is gone on purpose: the workflow selects anew
    except TokenworksError as error:
        return Tried(strategy=strategy.name, failed=str(error), seconds=time.monotonic() - started)
    return Tried(
        strategy=strategy.name,
        weights=trained.weights,
        key=trained.key,
        seconds=time.monotonic() - started,
        teacher_s=learned.engine_s,
        teacher_answers=learned.answers,
        says=learned.says,
    )


def _way(works: Works, state: TurnState, task: Task, material: Material, strategy: Strategy) -> Way:
    """Return how `strategy` is carried out: the usual way of the kind, or a trainer that begins at the incumbent."""
    if strategy.trainer is None or strategy.params is None:
        usual = usual_way(task, material)
        return Way(strategy.name, usual.trainer, usual.params, usual.inputs)
    schema = msgspec.json.decode(task.path(task.data.schema).read_bytes()) if task.data.schema else None
    parts = {**state.selection.get("parts", {}), **material.train}
    base = _unsigned(works, state) if strategy.from_incumbent else material.train["base"]
    return Way(strategy.name, strategy.trainer, strategy.params(task, schema), inputs_of(strategy, parts, base))


def _has_to_unlearn(works: Works, task: Task) -> str:
    """Return why no candidate may begin at the weights that answer now; empty where it may."""
    due = works.catalog.objects.get(DUE, task.name)
    if due is None or not due.body.get("versions"):
        return ""
    return f"the weights that answer have learned from erased data ({due.body.get('reason', 'an erasure')})"


def _unsigned(works: Works, state: TurnState) -> str:
    """Return the folder of the incumbent as it was trained; of a model that was brought in, as it came."""
    version = works.catalog.models.find(state.incumbent)
    made = works.catalog.stages.get(version.stage_key)
    return made.outputs["model"] if made is not None else version.folder


def _counts(works: Works, state: TurnState, material: Material) -> dict[str, int]:
    """Return the rows of each part; "train" are all examples, not only those that were selected."""
    counts = dict(state.selection.get("counts", {}))
    if train := material.train.get("train"):
        counts["train"] = sum(bool(line.strip()) for line in works.runner.artifacts.get_bytes(train).split(b"\n"))
    return counts
