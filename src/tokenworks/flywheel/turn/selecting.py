"""The first step: from ledger and feedback to what this turn learns from, with what the gate can decide said before."""

from __future__ import annotations

from typing import Any

from tokenworks.core.task import Task
from tokenworks.flywheel.select.select import Selection, select
from tokenworks.flywheel.turn.ending import DUE
from tokenworks.flywheel.turn.state import Turns, TurnState
from tokenworks.flywheel.turn.works import Done, Works, ends, pinned
from tokenworks.line.recipes import Additions

FROM_DOCUMENTS = frozenset({"complete", "embed"})  # kinds that may have something to learn without any feedback


def select_step(works: Works, state: TurnState) -> Done:
    """Select; with nothing new and nothing due, the turn is over."""
    task = pinned(state)
    chosen = select(
        task,
        works.runner,
        works.ledger_root,
        works.bodies,
        until=state.until,
        evals=evaluation_sets(works, task),
        since=state.since,
        learned_until=learned_until(works, state),
    )
    changes = {"selection": as_record(chosen), "new": chosen.new}
    if not chosen.new and task.kind not in FROM_DOCUMENTS and works.catalog.objects.get(DUE, task.name) is None:
        return ends("nothing-new", "nothing new since the last turn", evidence=chosen.report_digest, **changes)
    says = f"{chosen.new} new items, {chosen.report.quarantined} feedback entries in quarantine"
    return Done(says, {**changes, "step": "train"}, chosen.report_digest)


def learned_until(works: Works, state: TurnState) -> float:
    """Return until when feedback may have taught the model in production: the end of what its own turn looked at."""
    turns = Turns(works.catalog).of(state.task)
    return max((one.until for one in turns if one.candidate and one.candidate == state.incumbent), default=0.0)


def evaluation_sets(works: Works, task: Task) -> dict[str, str]:
    """Return the files that nothing may be trained on, by name."""
    named = {"gold": task.check.gold, "general": task.check.general, "safety": task.check.safety}
    paths = {name: task.path(file) for name, file in named.items() if file}
    return {name: works.runner.artifacts.put_file(path) for name, path in paths.items() if path.is_file()}


def as_record(chosen: Selection) -> dict[str, Any]:
    """Return what later steps and people need of a selection."""
    return {
        # "fresh" even where it is empty: without one the line would hold out a part of the corrections by itself.
        "parts": {
            name: digest for name, digest in chosen.parts().items() if name == "fresh" or chosen.counts.get(name)
        },
        "counts": dict(chosen.counts),
        "label": chosen.label,
        "report": chosen.report_digest,
        "quarantined": chosen.report.quarantined,
        "story": chosen.story(),
    }


def additions(state: TurnState) -> Additions:
    """Return what was selected, as the line takes it."""
    parts = state.selection.get("parts", {})
    known = {name: parts[name] for name in ("train", "fresh", "pairs", "clicks", "unlabelled") if name in parts}
    return Additions(**known, label=state.selection.get("label", "public"))
