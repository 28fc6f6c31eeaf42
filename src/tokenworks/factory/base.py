"""Models that the line did not make: the base encoder, and folders that an operator brings."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from tokenworks.core.ids import content_id
from tokenworks.core.label import Label
from tokenworks.core.model import ModelVersion
from tokenworks.factory.house import House
from tokenworks.line.facts import parameters_of
from tokenworks.line.release.bom import ModelFacts
from tokenworks.line.release.inspect import inspect_folder
from tokenworks.line.release.register import register, seal
from tokenworks.line.release.release import promote
from tokenworks.line.train.bases import resolve_base
from tokenworks.store.nouns import CatalogTask

HOUSE = "mailto:operator@localhost"


def release_base(house: House, name: str) -> ModelVersion:
    """Release the base encoder `name` as itself, once; return the version that answers."""
    current = house.catalog.releases.current(name)
    if current is not None:
        return house.catalog.models.get(current.model, current.version)
    folder = resolve_base(name, house.home)
    return _release(house, folder, name, kind="embed", licence="Apache-2.0", why="the base encoder of this home")


def release_folder(house: House, folder: Path) -> ModelVersion:
    """Release the Hugging Face folder at `folder` under its own name; refuse one that cannot be trusted or served."""
    inspect_folder(folder)
    config = msgspec.json.decode((folder / "config.json").read_bytes())
    encoder = config.get("model_type") in ("bert", "xlm-roberta", "mpnet")
    template = (folder / "tokenizer_config.json").is_file() and b"chat_template" in (
        folder / "tokenizer_config.json"
    ).read_bytes()
    kind = "embed" if encoder else "chat" if template or (folder / "chat_template.jinja").is_file() else "complete"
    name = re.sub(r"[^a-z0-9-]+", "-", folder.resolve().name.lower()).strip("-") or "model"
    return _release(house, folder, name, kind=kind, licence="", why=f"brought by the operator from {folder.resolve()}")


def _release(house: House, folder: Path, name: str, *, kind: str, licence: str, why: str) -> ModelVersion:
    digest = house.artifacts.put_folder(folder)
    key = content_id({"brought": digest})
    facts = ModelFacts(
        model=name,
        kind=kind,
        label=str(Label.PUBLIC),
        licence=licence,
        owner=HOUSE,
        stage_key=key,
        base=str(folder.name),
        base_digest=digest,
        parameters=parameters_of(folder),
        description=why,
    )
    sealed = seal(digest, facts, artifacts=house.artifacts, key=house.key, scratch=house.home / "work" / "seal")
    _own(house, name, kind)
    version = register(
        ModelVersion(
            model=name,
            version=0,
            folder=sealed,
            kind=kind,
            label=facts.label,
            licence=licence,
            owner=HOUSE,
            base=facts.base,
            stage_key=key,
            evaluation="",
            parameters=facts.parameters,
            created_at=house.clock.now(),
        ),
        catalog=house.catalog,
        ledger=house.ledger,
    )
    current = house.catalog.releases.current(name)
    if current is None or current.version != version.version:
        promote(
            name,
            version,
            reason=why,
            by="operator",
            catalog=house.catalog,
            ledger=house.ledger,
            clock=house.clock,
        )
    return version


def _own(house: House, name: str, kind: str) -> None:
    """Enter the model as a task with an owner: nothing is released that nobody answers for."""
    if house.catalog.tasks.get(name) is None:
        house.catalog.tasks.put(
            CatalogTask(
                name=name,
                kind=kind,
                owner=HOUSE,
                deputy="",
                label=str(Label.PUBLIC),
                spec={},
                digest="",
                updated_at=house.clock.now(),
            )
        )
