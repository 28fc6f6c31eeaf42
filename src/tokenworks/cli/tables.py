"""Reports as lines of text: aligned columns, units, and at the end what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenworks.factory import Factory, Ingested
    from tokenworks.factory.report import Made, Report
    from tokenworks.line.evaluate.report import Evaluation
    from tokenworks.line.produce import Outcome


def reasons(set_aside: Mapping[str, int]) -> str:
    """Return counts by reason, the largest first."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(set_aside.items(), key=lambda one: -one[1]))


def ingest_lines(found: Ingested) -> list[str]:
    """Return what came in, what was left out, and why."""
    came, kept = found.ingest, found.curate
    left_out = came.documents.seen - kept.kept
    return [
        f"files      {came.files.seen} seen, {came.files.kept} read ({came.files.cached} unchanged), "
        f"{came.files.set_aside} set aside",
        f"documents  {came.documents.seen} in = {kept.kept} kept + {left_out} set aside",
        f"  because  {reasons({**came.set_aside, **kept.set_aside}) or '-'}",
        f"labels     {reasons(kept.by_label)}",
        f"languages  {reasons(kept.by_language)}",
        f"found      {reasons(came.found) or 'no personal data, no secrets'}",
        f"corpus     {found.corpus[:16]}  {kept.characters / 1e6:.2f} M characters",
        f"speed      {came.documents_per_s:.0f} documents/s",
    ]


def evaluation_lines(found: Evaluation) -> list[str]:
    """Return the figures with n and interval, and the baselines beside them."""
    lines = [f"{found.model_ref} ({found.kind})"]
    lines += [f"  {name:<16} {figure}" for name, figure in found.figures.items()]
    lines += [f"  baseline {name:<24} {one.headline}" for name, one in found.baselines.items()]
    return lines + [f"  note: {note}" for note in found.notes]


def outcome_lines(outcome: Outcome, factory: Factory) -> list[str]:
    """Return what a pass of the line came to, and what to do next; the gate's evidence was told as it came."""
    after = {
        "promote": f"ask it: model={outcome.task!r}" if outcome.released else _propose(outcome),
        "unchanged": "nothing changed since it was released",
    }
    return [
        f"{outcome.version.ref}  {outcome.decision}  {outcome.seconds:.1f} s  weights {outcome.weights[:16]}",
        f"  next: {after.get(outcome.decision) or _refused(outcome, factory)}",
    ]


def _refused(outcome: Outcome, factory: Factory) -> str:
    answers = factory.catalog.releases.current(outcome.task)
    if answers is not None and answers.version:
        return f"more data or another method; {answers.model}@{answers.version} goes on answering"
    return (
        f"nothing answers for {outcome.task} yet: give it more data or another method, "
        f"or release it all the same: tokenworks release promote {outcome.version.ref} --reason WHY"
    )


def _propose(outcome: Outcome) -> str:
    return f"autonomy is 'propose': a person releases it with: tokenworks release promote {outcome.version.ref}"


def report_lines(found: Report) -> list[str]:
    """Return the one-screen report."""
    lines = [f"Tokenworks at {found.home}", *([""] if found.documents else [])]
    for one in found.documents:
        lines.append(f"documents  {one.task:<10} {one.seen} in = {one.kept} kept + {one.seen - one.kept} set aside")
        if one.set_aside:
            lines.append(f"                      {reasons(one.set_aside)}")
    for made in found.models:
        lines += ["", *_made_lines(made)]
    lines += ["", *unlearned_lines(found.unlearned)] if found.unlearned else []
    slowest = sorted(found.time, key=lambda one: -one.seconds)[:6]
    if slowest:
        lines += ["", "time       " + ", ".join(f"{one.task} {one.stage} {one.seconds:.1f} s" for one in slowest)]
    else:
        lines += ["", "nothing was made here yet; begin with: tokenworks up, or: tokenworks train FILE"]
    state = "verified" if found.ledger_ok else "DAMAGED: run tokenworks ledger verify"
    return [*lines, f"ledger     {found.ledger_entries} entries, {state}"]


def unlearned_lines(unlearned: Mapping[str, str]) -> list[str]:
    """Return what still answers although it learned from data that was erased since."""
    return [
        f"{task:<10} {ref} has learned from data that was erased since; its successor is due: tokenworks turn {task}"
        for task, ref in sorted(unlearned.items())
    ]


def _made_lines(made: Made) -> list[str]:
    beside = ", ".join(f"{name} {value:.3g}" for name, value in made.baselines.items())
    answers = f"{made.released} answers" if made.released else "nothing answers"
    answers = f"released as {made.released}" if made.released == made.version else answers
    size = f"{made.parameters / 1e6:.1f} M parameters"
    lines = [
        f"{made.task:<10} {made.version} ({made.kind}, {size})  {made.verdict}, {answers}",
        f"           {made.metric} {made.figure}  beside {beside or 'no baseline'}",
        f"           {_speed(made)}",
        f"           weights {made.weights[:16]}",
    ]
    lines += [f"           because {reason}" for reason in made.because]
    return lines + ([f"           {made.description}"] if made.description else [])


def _speed(made: Made) -> str:
    latency = f"latency p50 {made.latency_p50_s * 1e3:.1f} ms, p95 {made.latency_p95_s * 1e3:.1f} ms"
    if not made.tokens_per_s:
        return f"{latency}; {made.answers_per_s:.0f} answers/s"
    first = f"first token p50 {made.ttft_p50_s * 1e3:.1f} ms, p95 {made.ttft_p95_s * 1e3:.1f} ms"
    return f"{first}; {latency}; {made.tokens_per_s:.0f} tokens/s"
