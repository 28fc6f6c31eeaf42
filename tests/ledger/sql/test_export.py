"""Tables as files, and queries in DuckDB."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.ledger.entries import StageEntry
from tokenworks.ledger.sql import duck
from tokenworks.ledger.sql.export import export
from tokenworks.ledger.sql.views import Views, open_views
from tokenworks.ledger.writer import Ledger


@pytest.fixture
def views(tmp_path: Path, entry: Any) -> Any:
    with Ledger(tmp_path / "ledger", "a-0") as ledger:
        for number in range(5):
            ledger.submit(entry(number, tenant="clinic", completion_tokens=number, learn=number % 2 == 0))
        ledger.submit(StageEntry(at=9.0, task="t", stage="s", key="k", outputs={"a": "b"}, seconds=0.5, hit=True))
    with open_views(tmp_path / "ledger", tmp_path / "views", "sqlite://") as opened:
        opened.catch_up()
        yield opened


def test_json_lines_hold_what_the_entries_say(views: Views, tmp_path: Path) -> None:
    assert export(views, "requests", tmp_path / "out.jsonl", "jsonl", since=1002.0) == 3
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["request_id"], row["learn"], row["completion_tokens"]) for row in rows] == [
        ("req-2", True, 2),
        ("req-3", False, 3),
        ("req-4", True, 4),
    ]
    assert "salt" not in rows[0]
    export(views, "stages", tmp_path / "stages.jsonl", "jsonl")
    assert json.loads((tmp_path / "stages.jsonl").read_text())["outputs"] == {"a": "b"}


def test_csv_has_a_head_and_the_same_rows(views: Views, tmp_path: Path) -> None:
    assert export(views, "usage", tmp_path / "out.csv", "csv") == 1
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert (row["day"], row["tenant"], row["requests"], row["completion_tokens"]) == ("1970-01-01", "clinic", "5", "10")


def test_parquet_has_types_and_the_same_rows(views: Views, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'analytics' is not installed")
    assert export(views, "requests", tmp_path / "out.parquet", "parquet") == 5
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.column("completion_tokens").to_pylist() == [0, 1, 2, 3, 4]
    assert found.column("learn").to_pylist() == [True, False, True, False, True]


def test_an_export_that_fails_leaves_the_old_file(views: Views, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(ConfigError, match="there are: requests"):
        export(views, "nonsense", path, "jsonl")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".tmp")] == []


def test_duckdb_answers_over_the_same_rows(views: Views) -> None:
    pytest.importorskip("duckdb", reason="the extra 'analytics' is not installed")
    query = """SELECT a.tenant, quantile_cont(a.completion_tokens, 0.5), count(*)
      FROM requests a JOIN requests b USING (idx) GROUP BY 1"""
    with duck.ask(views, query) as found:
        assert list(found.rows) == [("clinic", 2.0, 5)]


def test_a_query_in_duckdb_reads_no_file_and_no_variable(views: Views, tmp_path: Path) -> None:
    pytest.importorskip("duckdb", reason="the extra 'analytics' is not installed")
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for query in (
        f"SELECT * FROM read_csv('{secret}')",
        f"SELECT * FROM '{secret}'",
        f"COPY requests TO '{tmp_path}/leak.csv'",
        "SELECT * FROM rows",
        "SET enable_external_access = true",
    ):
        with pytest.raises(ConfigError, match="query"), duck.ask(views, query) as found:
            list(found.rows)
    assert not (tmp_path / "leak.csv").exists()
