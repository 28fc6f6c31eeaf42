from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tokenworks.core.model import ModelVersion
from tokenworks.ledger.writer import Ledger
from tokenworks.line.release.bom import ModelFacts
from tokenworks.line.release.keys import SigningKey, ensure_signing_key
from tokenworks.line.release.register import register, seal
from tokenworks.store.artifacts import ArtifactStore, open_artifacts
from tokenworks.store.catalog import Catalog, open_catalog


def write_model(folder: Path, *, kind: str = "classify", seed: int = 0) -> Path:
    """A model folder in the Hugging Face layout, a few kilobytes, with numbers from `seed`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    (folder / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "hidden_size": 8}))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": {"type": "WordPiece"}}))
    (folder / "tokenworks.json").write_text(
        json.dumps({"kind": kind, "classes": ["billing", "shipping"], "base": "minilm", "description": "Routes mail."})
    )
    save_file({"w": rng.normal(size=(8, 8)).astype(np.float32)}, folder / "model.safetensors")
    if kind == "classify":
        save_file({"weight": rng.normal(size=(2, 8)).astype(np.float32)}, folder / "head.safetensors")
    return folder


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return ensure_signing_key(tmp_path / "home")


@dataclass
class Shop:
    """Real parts in a temporary home: catalog, artifacts, ledger and a key."""

    home: Path
    catalog: Catalog
    artifacts: ArtifactStore
    ledger: Ledger
    key: SigningKey

    @property
    def ledger_root(self) -> Path:
        return self.home / "ledger"

    def version(self, seed: int = 0, *, owner: str = "mailto:team@example.org", model: str = "route") -> ModelVersion:
        """Seal and register a small model made from `seed`."""
        folder = self.artifacts.put_folder(write_model(self.home / f"model-{seed}", seed=seed))
        sealed = seal(folder, facts(model), artifacts=self.artifacts, key=self.key, scratch=self.home / "work")
        fresh = unnumbered(sealed, owner=owner, model=model)
        return register(fresh, catalog=self.catalog, ledger=self.ledger)


def facts(model: str = "route") -> ModelFacts:
    return ModelFacts(
        model=model, kind="classify", label="internal", licence="MIT", owner="mailto:team@example.org", stage_key="s"
    )


def unnumbered(folder: str, *, owner: str = "mailto:team@example.org", model: str = "route") -> ModelVersion:
    return ModelVersion(
        model=model,
        version=0,
        folder=folder,
        kind="classify",
        label="internal",
        licence="MIT",
        owner=owner,
        base="minilm",
        stage_key="s",
        evaluation="e" * 64,
    )


def open_shop(home: Path, writer: str = "test") -> Shop:
    catalog = open_catalog(f"sqlite:///{home / 'catalog.db'}")
    artifacts = open_artifacts(str(home / "artifacts"), cache=home / "cache")
    return Shop(home, catalog, artifacts, Ledger(home / "ledger", writer), ensure_signing_key(home))


@pytest.fixture(scope="session")
def empty_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog file that was made once: copying it is quicker than making it for every test."""
    path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    open_catalog(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def shop(tmp_path: Path, empty_catalog: Path) -> Iterator[Shop]:
    (tmp_path / "shop").mkdir()
    shutil.copy(empty_catalog, tmp_path / "shop" / "catalog.db")
    opened = open_shop(tmp_path / "shop")
    yield opened
    opened.ledger.close()
    opened.catalog.close()
