"""Finish what a kill left between ledger and catalog. The ledger is right; the catalog follows."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tokenworks.core.clock import Clock, SystemClock
from tokenworks.core.errors import NotFoundError, RefusedError
from tokenworks.core.files import write_atomic
from tokenworks.core.model import Release
from tokenworks.ledger.entries import ModelEntry, ReleaseEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.writer import Ledger
from tokenworks.line.release.register import model_entry
from tokenworks.store.catalog import Catalog


class Seen(msgspec.Struct, kw_only=True):
    """How far the ledger was read: the last index of each writer, and the model versions met on the way."""

    positions: dict[str, int] = {}
    models: list[str] = []  # name@version


def reconcile(
    ledger_root: Path,
    catalog: Catalog,
    *,
    ledger: Ledger | None = None,
    cursor: Path | None = None,
    clock: Clock | None = None,
) -> int:
    """Apply releases that only the ledger knows to the catalog; return how many steps were mended.

    Called at each start. With `ledger`, model versions that only the catalog knows are entered there. `cursor` is
    a file that remembers how far the ledger was read, so that a long one is read once; it is not believed where the
    catalog holds no release: then the catalog is new, and all is applied again.
    """
    seen = _load(cursor) if catalog.releases.all_current() else Seen()
    mended = _apply_releases(ledger_root, catalog, seen)
    if ledger is not None:
        mended += _enter_models(catalog, ledger, seen, (clock or SystemClock()).now())
    if cursor is not None:
        write_atomic(cursor, msgspec.json.encode(seen))
    return mended


def _apply_releases(ledger_root: Path, catalog: Catalog, seen: Seen) -> int:
    missing: list[Release] = []
    known: dict[str, set[str]] = {}
    for position, entry in read(ledger_root, after=seen.positions):
        if isinstance(entry, ModelEntry):
            seen.models.append(f"{entry.model}@{entry.version}")
        elif isinstance(entry, ReleaseEntry):
            alias = entry.release.alias
            ids = known.setdefault(alias, {each.id for each in catalog.releases.history(alias)})
            if entry.release.id not in ids:
                missing.append(entry.release)
                ids.add(entry.release.id)
        seen.positions[position.writer] = position.index
    _apply(missing, ledger_root, catalog)
    return len(missing)


def _apply(missing: list[Release], ledger_root: Path, catalog: Catalog) -> None:
    try:
        for release in missing:
            catalog.releases.catch_up(release)
    except (NotFoundError, RefusedError):
        # The catalog was lost or is an old copy: what was released is a fact, whatever it knows of versions today.
        catalog.releases.rebuild(e.release for _, e in read(ledger_root) if isinstance(e, ReleaseEntry))


def _enter_models(catalog: Catalog, ledger: Ledger, seen: Seen, now: float) -> int:
    entered, mended = set(seen.models), 0
    for name in catalog.models.names():
        for version in catalog.models.of(name):
            if version.ref not in entered:
                ledger.append(model_entry(version, at=now))
                seen.models.append(version.ref)
                mended += 1
    return mended


def _load(cursor: Path | None) -> Seen:
    if cursor is None or not cursor.exists():
        return Seen()
    try:
        return msgspec.json.decode(cursor.read_bytes(), type=Seen)
    except msgspec.DecodeError:
        return Seen()  # only a shortcut: read the whole ledger and write it anew
