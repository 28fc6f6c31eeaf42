"""A bench on a real artifact store, and a run of the stage in two lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tokenworks.core.corpus import read_parts
from tokenworks.core.document import Document, SetAside
from tokenworks.core.stage import Bench
from tokenworks.line.ingest.params import IngestParams, Source
from tokenworks.line.ingest.report import IngestReport
from tokenworks.line.ingest.stage import INGEST, fingerprint
from tokenworks.store.artifacts import ArtifactStore, open_artifacts


@dataclass(frozen=True)
class Ingested:
    """What a run gave, decoded."""

    outputs: dict[str, str]
    documents: list[Document]
    set_aside: list[SetAside]
    report: IngestReport

    def texts(self) -> dict[str, str]:
        return {document.path: document.text for document in self.documents}

    def reasons(self) -> dict[str, str]:
        return {aside.path: aside.reason for aside in self.set_aside}


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return open_artifacts(str(tmp_path / "home" / "artifacts"), cache=tmp_path / "home" / "cache")


@pytest.fixture
def bench(tmp_path: Path, store: ArtifactStore) -> Bench:
    scratch, cache = tmp_path / "home" / "scratch", tmp_path / "home" / "stage-cache"
    scratch.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    return Bench(store, scratch, cache)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "docs"
    place.mkdir()
    return place


@pytest.fixture
def ingest(bench: Bench, store: ArtifactStore, folder: Path) -> Callable[..., Ingested]:
    def run(params: IngestParams | None = None) -> Ingested:
        params = params or IngestParams(sources=(Source(name="docs", path=str(folder)),), processes=1)
        outputs = dict(INGEST.run({"listing": fingerprint(params)}, params, bench))
        lines = store.get_bytes(outputs["set_aside"]).splitlines()
        return Ingested(
            outputs,
            list(read_parts(store.folder(outputs["documents"]))),
            [msgspec.json.decode(line, type=SetAside) for line in lines],
            msgspec.json.decode(store.get_bytes(outputs["report"]), type=IngestReport),
        )

    return run
