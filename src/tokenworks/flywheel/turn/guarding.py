"""A trial that a person began is watched like one of a turn: harm ends it, whoever wanted it."""

from __future__ import annotations

from tokenworks.core.errors import ConflictError
from tokenworks.core.model import Release
from tokenworks.core.task import Task
from tokenworks.flywheel.turn.watching import watched
from tokenworks.flywheel.turn.works import Works
from tokenworks.line.release.release import promote
from tokenworks.line.release.trial import end_trial

BY = "flywheel"


def guard(works: Works, task: Task) -> Release | None:
    """Look at the trial in force for `task`; return the step that its test decided on, None while it goes on.

    Proven harm, or no decision within `turn.canary.longest`, ends the trial. Proven not to be worse, the version is
    promoted where the task's autonomy is "promote"; else a person decides, and the trial goes on.
    """
    trial = works.catalog.releases.current(task.name)
    if trial is None or not trial.canary:
        return None
    found = watched(works, trial, task)
    if not found.decision or (found.decision == "promote" and task.turn.autonomy != "promote"):
        return None
    report = found.report()
    reason = f"{found.decision}: {'; '.join(report.reasons)}"
    evidence = works.runner.artifacts.put_bytes(report.to_json())
    catalog, ledger, clock = works.catalog, works.runner.ledger, works.clock
    try:
        if found.decision == "promote":
            version = catalog.models.get(trial.model, trial.canary)
            return promote(
                task.name, version, reason=reason, by=BY, evidence=evidence, id=f"{trial.id}-won", expect=trial.id,
                catalog=catalog, ledger=ledger, clock=clock,
            )  # fmt: skip
        return end_trial(
            task.name, reason=reason, by=BY, evidence=evidence, id=f"{trial.id}-over", expect=trial.id,
            catalog=catalog, ledger=ledger, clock=clock,
        )  # fmt: skip
    except ConflictError:  # a person was faster
        return None
