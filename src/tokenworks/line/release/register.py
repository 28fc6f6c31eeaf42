"""Turn a trained folder into a model version: bill of materials and signature inside, a number in the catalog."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.clock import Clock, SystemClock
from tokenworks.core.errors import RefusedError
from tokenworks.core.files import locked, write_atomic
from tokenworks.core.model import ModelVersion
from tokenworks.core.stage import Artifacts
from tokenworks.ledger.entries import ModelEntry
from tokenworks.ledger.writer import Ledger
from tokenworks.line.release.bom import BOM, ModelFacts, bill_of_materials
from tokenworks.line.release.inspect import inspect_folder, verify_folder
from tokenworks.line.release.keys import SigningKey
from tokenworks.line.release.sign import IGNORED, hash_files, sign_folder
from tokenworks.store.catalog import Catalog


def seal(model_folder: str, facts: ModelFacts, *, artifacts: Artifacts, key: SigningKey, scratch: Path) -> str:
    """Return the digest of the folder `model_folder` with `bom.cdx.json` and `model.sig` added.

    Refuses a folder that could run code or is incomplete. Equal weights, facts and key give an equal digest, so a
    sealing that was killed and is called again ends the same. `scratch` needs room for links, or for one copy.
    """
    source = artifacts.folder(model_folder)
    inspect_folder(source)
    place = scratch / model_folder[:24]
    with locked(place.with_suffix(".lock")):
        shutil.rmtree(place, ignore_errors=True)  # left by a killed sealing
        try:
            _copy(source, place)
            facts = _completed(facts, place)
            files = hash_files(place, ignored=frozenset(IGNORED))
            write_atomic(place / BOM, bill_of_materials(facts, files))
            sign_folder(place, key, name=facts.model)
            verify_folder(place, key.public)
            return artifacts.put_folder(place)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def register(version: ModelVersion, *, catalog: Catalog, ledger: Ledger, clock: Clock | None = None) -> ModelVersion:
    """Return `version` with its number, after catalog and ledger have it; a folder that is known keeps its number.

    A kill between the two leaves a version without its ledger entry; `release.reconcile` writes it.
    """
    if not version.owner:
        raise RefusedError(f'model {version.model}: no owner; name one in the task file: [task] owner = "mailto:..."')
    known = {each.version for each in catalog.models.of(version.model)}
    stored = catalog.models.add(version)
    if stored.version not in known:
        ledger.append(model_entry(stored, at=(clock or SystemClock()).now()))
    return stored


def model_entry(version: ModelVersion, *, at: float) -> ModelEntry:
    """Return the fact that `version` was registered."""
    return ModelEntry(at=at, model=version.model, version=version.version, folder=version.folder, label=version.label)


def _copy(source: Path, place: Path) -> None:
    """Link the files where the file system allows it: nothing here writes into them."""
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if not path.is_file() or relative.parts[0] in IGNORED or relative.as_posix() == BOM:
            continue
        target = place / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, target)


def _completed(facts: ModelFacts, folder: Path) -> ModelFacts:
    """Return `facts` with what the folder itself says where nothing was given."""
    config, card = _table(folder / "config.json"), _table(folder / "tokenworks.json")
    architectures = config.get("architectures") or [""]
    return msgspec.structs.replace(
        facts,
        architecture=facts.architecture or str(architectures[0]),
        description=facts.description or str(card.get("description", "")),
        base=facts.base or str(card.get("base", "")),
    )


def _table(path: Path) -> dict[str, Any]:
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Any]) if path.is_file() else {}
