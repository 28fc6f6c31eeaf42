"""Which version answers for an alias: one recorded step at a time, the ledger first and the catalog folded from it.

Nothing is ever changed or removed: going back is a step forward in the history.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tokenworks.core.clock import Clock, SystemClock
from tokenworks.core.errors import ConflictError, NotFoundError, RefusedError
from tokenworks.core.ids import new_id
from tokenworks.core.model import ModelVersion, Release
from tokenworks.ledger.entries import ReleaseEntry
from tokenworks.ledger.writer import Ledger
from tokenworks.store.catalog import Catalog
from tokenworks.store.releases import Alone

TRIAL = frozenset({"canary", "end"})  # actions that leave the incumbent where it is


def promote(
    alias: str,
    version: ModelVersion,
    *,
    reason: str,
    by: str,
    catalog: Catalog,
    ledger: Ledger,
    evidence: str = "",
    id: str = "",
    expect: str = "",
    clock: Clock | None = None,
) -> Release:
    """Let `version` answer for `alias` from now on; return the recorded step.

    `evidence` is the digest of the gate's verdict. Where `version` answers already, and nothing is on trial, the step
    that did it is returned and nothing is written. With an `id` the step is taken once, however often it is called:
    a turn that was killed after its release calls again. With `expect`, the id of the step that must still be in
    force, a release that somebody made meanwhile raises `ConflictError`.
    """
    if not version.owner:
        raise RefusedError(
            f'model {version.ref}: no owner, no release; name one in the task file: [task] owner = "mailto:..."'
        )
    with catalog.releases.alone() as releases:
        past = releases.history(alias)
        if done := taken(past, id):
            return done
        current = in_force(alias, past, expect)
        if current is not None and not current.canary and _names(current, version):
            return current
        release = Release(
            id=id or new_id("release"),
            alias=alias,
            model=version.model,
            version=version.version,
            action="promote",
            reason=reason,
            by=by,
            at=after(current, clock),
            evidence=evidence,
        )
        return record(release, releases, ledger)


def rollback(
    alias: str, *, reason: str, by: str, catalog: Catalog, ledger: Ledger, clock: Clock | None = None
) -> Release:
    """Let the version answer that did before the current one was promoted; called again, the one before that.

    While something is on trial, going back means that the trial is over: the incumbent goes on.
    """
    with catalog.releases.alone() as releases:
        past = releases.history(alias)
        if not past:
            raise NotFoundError(f"alias {alias}: nothing was ever released; promote a version first")
        if past[-1].canary:
            return record(trial_over(past[-1], id="", reason=reason, by=by, clock=clock), releases, ledger)
        target = _before(alias, past)
        release = msgspec.structs.replace(
            target, id=new_id("release"), action="rollback", reason=reason, by=by, at=after(past[-1], clock)
        )
        return record(release, releases, ledger)


def withdraw(
    alias: str, *, reason: str, by: str, catalog: Catalog, ledger: Ledger, clock: Clock | None = None
) -> Release:
    """Let nothing answer for `alias` any more; `rollback` brings the last version back."""
    with catalog.releases.alone() as releases:
        past = releases.history(alias)
        if not past:
            raise NotFoundError(f"alias {alias}: nothing was ever released; there is nothing to withdraw")
        current = past[-1]
        if current.version == 0:
            return current
        release = Release(
            id=new_id("release"),
            alias=alias,
            model=current.model,
            version=0,
            action="withdraw",
            reason=reason,
            by=by,
            at=after(current, clock),
        )
        return record(release, releases, ledger)


def history(alias: str, *, catalog: Catalog) -> list[Release]:
    """Return every step of `alias`, oldest first, each with its reason, its author and its evidence."""
    return catalog.releases.history(alias)


def at(alias: str, time: float, *, catalog: Catalog) -> Release | None:
    """Return the step that decided what answered for `alias` at `time`, Unix seconds; None: nothing did yet."""
    return catalog.releases.at(alias, time)


def stack(past: Sequence[Release]) -> list[Release]:
    """Return what answered, each over what it replaced: a roll-back takes the top away, a trial changes nothing."""
    answered: list[Release] = []
    for step in past:
        if step.action in TRIAL:
            continue
        if step.action == "rollback" and len(answered) > 1:
            answered.pop()
        else:
            answered.append(step)
    return answered


def taken(past: Sequence[Release], id: str) -> Release | None:
    """Return the step called `id` if it was taken already."""
    return next((step for step in past if step.id == id), None) if id else None


def in_force(alias: str, past: Sequence[Release], expect: str) -> Release | None:
    """Return the step in force; raise `ConflictError` where it is not the one called `expect`."""
    current = past[-1] if past else None
    if expect and (current is None or current.id != expect):
        found = f"{current.action} of {_name(current)} by {current.by} ({current.reason})" if current else "nothing"
        raise ConflictError(f"alias {alias}: {found} is in force by now, not {expect}; look before you release")
    return current


def trial_over(trial: Release, *, id: str, reason: str, by: str, clock: Clock | None) -> Release:
    """Return the step by which the incumbent of `trial` answers everybody again."""
    return msgspec.structs.replace(
        trial,
        id=id or new_id("release"),
        action="end",
        reason=reason,
        by=by,
        at=after(trial, clock),
        canary=0,
        share=0.0,
        mode="",
    )


def _before(alias: str, past: Sequence[Release]) -> Release:
    """Return the step whose version answered before the one that answers now."""
    answered = stack(past)
    if len(answered) < 2:
        raise RefusedError(f"alias {alias}: there is no version before {_name(past[-1])}; withdraw it, or promote one")
    target = answered[-2]
    if target.version == 0:
        raise RefusedError(
            f"alias {alias}: before {_name(past[-1])} it was withdrawn ({target.reason}); withdraw it, or promote one"
        )
    return target


def _names(release: Release, version: ModelVersion) -> bool:
    return (release.model, release.version) == (version.model, version.version)


def record(release: Release, releases: Alone, ledger: Ledger) -> Release:
    """Ask the catalog whether this may be, make it a fact, then let the catalog follow."""
    releases.check(release)
    ledger.append(ReleaseEntry(at=release.at, release=release))
    releases.apply(release)
    return release


def after(before: Release | None, clock: Clock | None) -> float:
    """Return now, but never earlier than the step before: a clock that was set back must not reorder history."""
    now = (clock or SystemClock()).now()
    return now if before is None else max(now, before.at + 1e-6)


def _name(release: Release) -> str:
    return f"{release.model}@{release.version}" if release.version else f"the withdrawal of {release.alias}"
