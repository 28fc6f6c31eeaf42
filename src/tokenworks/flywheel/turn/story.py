"""A turn on one screen."""

from __future__ import annotations

import time

import msgspec

from tokenworks.flywheel.turn.payback import Payback
from tokenworks.flywheel.turn.state import LIVE, WAITING, Tried, TurnState
from tokenworks.line.evaluate.verdict import Verdict
from tokenworks.store.artifacts import ArtifactStore

_NEXT = {
    "propose": "a person decides: tokenworks turn approve {task} --reason ... (or: turn decline)",
    "approve": "the trial is won; a person decides: tokenworks turn approve {task} --reason ... (or: turn decline)",
    "shadow": "it answers beside the incumbent, shown to nobody; traffic decides",
    "canary": "it is on trial; traffic decides",
}


def story(state: TurnState, artifacts: ArtifactStore) -> list[str]:
    """Return the turn in lines: why, from what, how, on what evidence, what it cost and gives."""
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(state.started_at))
    spent, so_far = sum(state.seconds.values()), (state.outcome or state.step).upper()
    lines = [
        f"turn {state.number} of {state.task}  {so_far}  {began} UTC, {spent:.1f} s of work",
        f"  because   {state.reason}; asked by {state.by}",
        f"  before    {state.incumbent or 'nothing'} answered",
        *(f"  data      {line}" for line in state.selection.get("story", [])),
        *(f"  plan      {line}" for line in state.plan),
        *(f"  tried     {_tried(one)}" for one in state.tried),
    ]
    if state.verdict:
        lines += [f"  {line}" for line in Verdict.from_json(artifacts.get_bytes(state.verdict)).story()]
    if state.live:
        lines += [f"  trial     {line}" for line in msgspec.json.decode(artifacts.get_bytes(state.live))["story"]]
    lines += [f"  says      {line}" for line in state.says]
    if state.approved_by:
        lines.append(f"  approved  by {state.approved_by}")
    if state.payback:
        lines += msgspec.convert(state.payback, Payback).story("gives" if state.outcome == "promoted" else "would give")
    return [*lines, f"  next      {_next(state)}"]


def _tried(one: Tried) -> str:
    if one.failed:
        return f"{one.strategy}: no candidate, {one.failed}"
    made = f"{one.strategy}: weights {one.weights[:12]} in {one.seconds:.1f} s"
    return f"{made}; {one.says}; {one.teacher_s:.1f} engine-seconds of the teacher" if one.says else made


def _next(state: TurnState) -> str:
    if state.step in WAITING or state.step in LIVE:
        return _NEXT[state.step].format(task=state.task)
    if state.open:
        return f"it was broken off at '{state.step}'; tokenworks turn {state.task} goes on with it"
    return {
        "promoted": f"{state.candidate} answers for {state.task}",
        "nothing-new": "send feedback to /v1/feedback and turn again",
        "need-more": "more feedback would decide; the model in production stays",
    }.get(state.outcome, "the model in production stays")
