"""Opening and migrating, the same on SQLite and PostgreSQL, and what goes wrong with databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tokenworks.core.errors import StoreError
from tokenworks.store import database
from tokenworks.store.catalog import Catalog, open_catalog
from tokenworks.store.nouns import Source, Tenant
from tokenworks.store.schema import HEAD, metadata


def test_a_catalog_is_made_where_there_is_none_and_kept(url: str) -> None:
    with open_catalog(url) as catalog:
        catalog.tenants.put(Tenant(name="clinic", created_at=1.0))
    with open_catalog(url) as catalog:
        assert catalog.tenants.get("clinic") == Tenant(name="clinic", created_at=1.0)
        assert catalog.tenants.get("nobody") is None


def test_the_migrations_make_exactly_the_schema(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    open_catalog(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD
    engine.dispose()


def test_the_newest_migration_is_the_head_that_the_schema_names() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


OPEN = """
    import sys
    from tokenworks.store.catalog import open_catalog
    from tokenworks.store.nouns import Source, Tenant
    with open_catalog(sys.argv[1]) as catalog:
        catalog.tenants.put(Tenant(name=sys.argv[2], created_at=0.0))
        print("alembic" in sys.modules)
"""


def test_processes_that_open_a_new_catalog_at_once_all_succeed(url: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(OPEN), url]
    workers = [subprocess.Popen([*command, f"t{n}"], stderr=subprocess.PIPE, text=True) for n in range(3)]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], errors
    with open_catalog(url) as catalog:
        assert [tenant.name for tenant in catalog.tenants.all()] == ["t0", "t1", "t2"]


def test_an_existing_catalog_opens_without_the_migration_tool(url: str) -> None:
    open_catalog(url).close()
    command = [sys.executable, "-c", textwrap.dedent(OPEN), url, "clinic"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_catalog_of_a_newer_release_is_left_alone(url: str) -> None:
    open_catalog(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer Tokenworks"):
        open_catalog(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    engine.dispose()


def test_a_failed_transaction_leaves_nothing(catalog: Catalog) -> None:
    wrong = [Source(task="t", name="twice", path="/a"), Source(task="t", name="twice", path="/b")]
    catalog.sources.put("t", wrong[:1])
    with pytest.raises(StoreError):
        catalog.sources.put("t", wrong)
    assert catalog.sources.of("t") == wrong[:1]


def test_an_interrupted_transaction_leaves_nothing(catalog: Catalog) -> None:
    def interrupted() -> None:
        with catalog._database.write() as connection:
            connection.execute(text("INSERT INTO tenants (name, created_at) VALUES ('half', 0)"))
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        interrupted()
    assert catalog.tenants.all() == []


def test_sqlite_writes_ahead_and_syncs_every_commit(tmp_path: Path) -> None:
    with open_catalog(f"sqlite:///{tmp_path / 'catalog.db'}") as catalog, catalog._database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2


def test_a_locked_catalog_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    path = tmp_path / "catalog.db"
    with open_catalog(f"sqlite:///{path}") as catalog:
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=rf"{path}: database is locked; another process"):
            catalog.tenants.put(Tenant(name="clinic", created_at=0.0))
        assert catalog.tenants.all() == []
        other.rollback()
        other.close()
        catalog.tenants.put(Tenant(name="clinic", created_at=0.0))


FULL = """
    import resource, signal, sys
    from tokenworks.core.errors import StoreError
    from tokenworks.store.catalog import open_catalog
    from tokenworks.store.nouns import Source, Tenant
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    catalog = open_catalog(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    try:
        for number in range(1000):
            catalog.tenants.put(Tenant(name=str(number) + "x" * 5000, created_at=0.0))
    except StoreError as error:
        print(number, error)
"""


def test_a_full_disk_says_so_and_keeps_what_was_committed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    command = [sys.executable, "-c", textwrap.dedent(FULL), url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    number, message = done.stdout.split(" ", 1)
    assert "free some space" in message or "the disk is full" in message
    with open_catalog(url) as catalog:
        assert len(catalog.tenants.all()) == int(number)


def test_a_file_that_is_no_catalog_is_named(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(b"these bytes are no database" * 100)
    with pytest.raises(StoreError, match=rf"{path}.*restore it from a backup"):
        open_catalog(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["mysql://host/db", "nonsense", "sqlite+nodriver:///x"])
def test_a_url_that_means_nothing_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match=r"store\.catalog"):
        open_catalog(url)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1.*check that the database server runs") as caught:
        open_catalog("postgresql+psycopg://user:secret@127.0.0.1:9/db")
    assert "secret" not in str(caught.value)


@pytest.mark.postgres
def test_a_database_that_says_nothing_is_given_up_and_asked_again(postgres_url: str) -> None:
    base = database.Database(postgres_url, silence_s=0.5)
    with base.read() as connection:
        began_s = time.monotonic()
        connection.execute(text("SELECT pg_sleep(0.3)"))
    with pytest.raises(StoreError, match=r"has said nothing for 0\.5 s"), base.read() as connection:
        connection.execute(text("SELECT pg_sleep(30)"))
    assert time.monotonic() - began_s < 20
    time.sleep(database.AWAY_S)
    with base.write() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    base.close()
