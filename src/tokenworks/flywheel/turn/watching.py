"""What live traffic says of a release on trial: the ledger folded into the sequential test."""

from __future__ import annotations

from tokenworks.core.model import Release
from tokenworks.core.task import Task
from tokenworks.flywheel.select.texts import answer_of
from tokenworks.flywheel.trial.terms import Terms, slow_threshold, terms_of
from tokenworks.flywheel.trial.trial import Trial
from tokenworks.flywheel.trial.watch import Watch
from tokenworks.flywheel.turn.trigger import span_s
from tokenworks.flywheel.turn.works import Works
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read

ENDPOINTS = {"classify": "classify", "embed": "search"}  # by kind of task; others chat


def watched(works: Works, release: Release, task: Task) -> Trial:
    """Return the state of the trial that `release` began; looked at again, only what is new on the ledger is read."""
    watch = works.watches.get(release.id)
    if watch is None:
        watch = works.watches[release.id] = _watch(works, release, task)
    return watch.advance(works.clock.now())


def _watch(works: Works, release: Release, task: Task) -> Watch:
    def answer(request: str) -> str | None:
        kept = works.bodies.get(request)
        return answer_of(ENDPOINTS.get(task.kind, "chat.completions"), kept[1]) if kept is not None else None

    return Watch(
        works.ledger_root,
        _terms(works, release, task),
        alias=release.alias,
        answer_of=answer,
        correction_of=works.bodies.get_correction,
    )


def _terms(works: Works, release: Release, task: Task) -> Terms:
    incumbent = f"{release.model}@{release.version}"
    before = [
        entry.latency_s
        for _, entry in read(works.ledger_root)
        if isinstance(entry, RequestEntry)
        and (entry.version, entry.outcome) == (incumbent, "ok")
        and entry.model == release.alias
        and entry.at < release.at
    ]
    longest = span_s(task.turn.canary.longest, "turn.canary.longest")
    slow = slow_threshold(before, task.check.latency_margin)
    return terms_of(release, task.turn.canary, longest_s=longest, slow_s=slow)
