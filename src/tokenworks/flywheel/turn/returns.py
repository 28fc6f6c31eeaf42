"""What a finished turn cost and gives back, from its own evidence and the traffic on the ledger."""

from __future__ import annotations

from tokenworks.flywheel.turn.payback import Payback, Traffic, payback
from tokenworks.flywheel.turn.state import TurnState
from tokenworks.flywheel.turn.works import Works, pinned
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.line.evaluate.gains import POOLED
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.evaluate.verdict import Verdict

HOUSE = "house"  # the tenant of our own judging and teaching: no traffic


def returns(works: Works, state: TurnState) -> Payback | None:
    """Return the payback of `state`, None where no candidate was compared with an incumbent or answers are not right
    or wrong."""
    if not state.verdict or not state.incumbent or not state.candidate:
        return None
    artifacts, models = works.runner.artifacts, works.catalog.models
    verdict = Verdict.from_json(artifacts.get_bytes(state.verdict))
    pair = verdict.paired.get(POOLED) or verdict.paired.get("gold")
    if pair is None or verdict.metric == "bits_per_byte":
        return None
    before = Evaluation.from_json(artifacts.get_bytes(models.find(state.incumbent).evaluation))
    after = Evaluation.from_json(artifacts.get_bytes(models.find(state.candidate).evaluation))
    return payback(
        cost_s=state.train_s + state.engine_s,
        traffic=_traffic(works, state),
        gain=pair.difference,
        latency_saved_s=_latency(before) - _latency(after),
        correction_s=pinned(state).turn.correction_s,
    )


def _latency(found: Evaluation) -> float:
    figure = found.figures.get("latency_p50_s")
    return figure.value if figure else 0.0


def _traffic(works: Works, state: TurnState) -> Traffic:
    """Return what callers asked of the task between the last turn and this one."""
    count, first, last = 0, state.until, 0.0
    for _, entry in read(works.ledger_root):
        if not isinstance(entry, RequestEntry) or entry.model != state.task or entry.tenant == HOUSE:
            continue
        if entry.outcome == "ok" and state.since < entry.at <= state.until:
            count, first, last = count + 1, min(first, entry.at), max(last, entry.at)
    return Traffic(answers=count, span_s=max(0.0, last - first))
