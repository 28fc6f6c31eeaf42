"""A home whose traffic is selected from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flywheel.select.home import Home
from tokenworks.ledger.bodies import Bodies
from tokenworks.ledger.writer import Ledger
from tokenworks.line.run import Runner
from tokenworks.store.artifacts import open_artifacts
from tokenworks.store.catalog import open_catalog


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    catalog = open_catalog(f"sqlite:///{tmp_path}/catalog.db")
    artifacts = open_artifacts(str(tmp_path / "artifacts"), cache=tmp_path / "cache")
    with Ledger(tmp_path / "ledger", "test-0", segment_bytes=1 << 16) as ledger, Bodies(tmp_path / "bodies") as bodies:
        yield Home(tmp_path / "ledger", Runner(catalog, artifacts, ledger, tmp_path), bodies)
    catalog.close()
