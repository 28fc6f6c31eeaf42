"""A version on trial: a share of the users is answered by it, or it answers beside the incumbent, shown to nobody."""

from __future__ import annotations

from typing import Literal

import msgspec

from tokenworks.core.clock import Clock
from tokenworks.core.errors import NotFoundError, RefusedError
from tokenworks.core.ids import new_id
from tokenworks.core.model import ModelVersion, Release
from tokenworks.ledger.writer import Ledger
from tokenworks.line.release.release import after, in_force, record, taken, trial_over
from tokenworks.store.catalog import Catalog

Mode = Literal["canary", "shadow"]


def begin_trial(
    alias: str,
    version: ModelVersion,
    *,
    share: float,
    mode: Mode = "canary",
    reason: str,
    by: str,
    catalog: Catalog,
    ledger: Ledger,
    evidence: str = "",
    id: str = "",
    expect: str = "",
    clock: Clock | None = None,
) -> Release:
    """Put `version` on trial for a `share` of the users of `alias`, in place of any trial before; return the step.

    `id` and `expect` are as for `promote`. Raises `NotFoundError` where nothing answers that it could be compared
    with, and `RefusedError` for a share that is none, for a version of another model and for the incumbent itself.
    """
    if not 0 < share < 1:
        raise RefusedError(f"alias {alias}: a share of {share:g} is no trial; choose one between 0 and 1, such as 0.1")
    with catalog.releases.alone() as releases:
        past = releases.history(alias)
        if done := taken(past, id):
            return done
        current = _comparable(alias, in_force(alias, past, expect), version)
        trial = msgspec.structs.replace(
            current,
            id=id or new_id("release"),
            action="canary",
            reason=reason,
            by=by,
            at=after(current, clock),
            evidence=evidence,
            canary=version.version,
            share=share,
            mode=mode,
        )
        return record(trial, releases, ledger)


def _comparable(alias: str, current: Release | None, version: ModelVersion) -> Release:
    """Return the step in force if `version` can be tried beside what answers by it."""
    if current is None or not current.version:
        raise NotFoundError(f"alias {alias}: nothing answers that {version.ref} could be tried beside; promote it")
    if current.model != version.model:
        raise RefusedError(f"alias {alias} is answered by {current.model}; {version.ref} is a version of another model")
    if current.version == version.version:
        raise RefusedError(f"alias {alias}: {version.ref} answers already; nothing can be learned from trying it")
    return current


def end_trial(
    alias: str,
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
    """Let the incumbent of `alias` answer everybody again; return the step. With nothing on trial nothing is done."""
    with catalog.releases.alone() as releases:
        past = releases.history(alias)
        if done := taken(past, id):
            return done
        current = in_force(alias, past, expect)
        if current is None:
            raise NotFoundError(f"alias {alias}: nothing was ever released, so nothing is on trial")
        if not current.canary:
            return current
        over = trial_over(current, id=id, reason=reason, by=by, clock=clock)
        return record(msgspec.structs.replace(over, evidence=evidence), releases, ledger)
