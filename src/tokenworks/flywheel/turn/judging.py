"""The gate: every candidate against the incumbent on the same items; the best one is registered with the verdict."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.core.model import ModelVersion
from tokenworks.core.task import Task
from tokenworks.flywheel.candidates import STRATEGIES
from tokenworks.flywheel.turn.selecting import additions
from tokenworks.flywheel.turn.state import Step, Tried, TurnState
from tokenworks.flywheel.turn.works import Done, Works, ends, pinned
from tokenworks.line.comparing import Judged, Trained
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.store.artifacts import ArtifactStore


def gate_step(works: Works, state: TurnState) -> Done:
    """Judge what was made; one that cannot answer is out. The winner, or the best loser, gets a version number."""
    task, producer = pinned(state), works.producer
    material = producer.gather(task, additions(state))
    incumbent = works.catalog.models.find(state.incumbent) if state.incumbent else None
    made = [one for one in state.tried if not one.failed]
    judged: list[tuple[Tried, Judged]] = []
    tried = [one for one in state.tried if one.failed]
    for one in made:
        try:
            judged.append(
                (one, producer.judge(task, material, _trained(task, one, incumbent), incumbent, rivals=len(made)))
            )
            tried.append(one)
        except EngineError as error:  # it crashes at load, or while it answers
            tried.append(_struck_out(one, str(error)))
    if not judged:
        return ends("failed", "; ".join(f"{one.strategy}: {one.failed}" for one in tried), tried=tuple(tried))
    best, found = max(judged, key=lambda pair: _rank(works.runner.artifacts, *pair))
    version = producer.register(task, material, _trained(task, best, incumbent), found.report)
    evidence = producer.keep(found.verdict)
    producer.tell(task, found.verdict)
    changes: dict[str, Any] = {
        "tried": tuple(tried),
        "chosen": best.strategy,
        "candidate": version.ref,
        "verdict": evidence,
        "says": found.verdict.reasons,
        "engine_s": state.engine_s + sum(one.engine_s for _, one in judged),
    }
    says = f"{found.verdict.decision} {version.ref} ({best.strategy}): {'; '.join(found.verdict.reasons)}"
    if not found.verdict.promoted:
        outcome = "need-more" if found.verdict.decision == "need-more" else "rejected"
        return ends(outcome, says, evidence=evidence, **changes)
    after: Step = "propose" if task.turn.autonomy == "propose" else after_gate(task, state)
    return Done(says, {**changes, "step": after}, evidence)


def propose_step(works: Works, state: TurnState) -> Done:
    """Wait until a person says yes or no."""
    if state.outcome == "declined":
        return ends("declined", "; ".join(state.says[-1:]))
    if not state.approved_by:
        return Done("waits for a person", waits=True)
    return Done(f"approved by {state.approved_by}", {"step": after_gate(pinned(state), state)})


def after_gate(task: Task, state: TurnState) -> Step:
    """Return how a candidate that passed the gate goes on: live traffic tries it where the task asks for that."""
    canary = task.turn.canary
    if not state.incumbent or canary.share <= 0:
        return "release"
    return "shadow" if canary.shadow else "canary"


def _trained(task: Task, one: Tried, incumbent: ModelVersion | None) -> Trained:
    """Return the candidate; one that began at the incumbent's weights knows what the incumbent knew."""
    inherits = incumbent is not None and STRATEGIES[one.strategy].from_incumbent
    label = incumbent.label if incumbent is not None and inherits else "public"
    return Trained(one.weights, one.key, f"{task.name}@{one.weights[:12]}", label)


def _struck_out(one: Tried, why: str) -> Tried:
    return msgspec.structs.replace(one, failed=f"it cannot be judged: {why}")


def _rank(artifacts: ArtifactStore, one: Tried, judged: Judged) -> tuple[bool, float, str]:
    """Order candidates: those that may be promoted first, then by the gate's own figure; the name breaks ties."""
    figure = Evaluation.from_json(artifacts.get_bytes(judged.report)).headline.value
    better = -figure if judged.verdict.metric == "bits_per_byte" else figure
    return judged.verdict.promoted, better, one.strategy
