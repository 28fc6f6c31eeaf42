"""`tokenworks ledger sql|export|fold` as an operator uses them, also beside a process that writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from system.processes import tokenworks
from tokenworks.cli.analytics import since_of
from tokenworks.core.errors import ConfigError
from tokenworks.factory.house import House
from tokenworks.ledger.entries import RequestEntry


def test_the_ledger_is_asked_in_sql_and_exported_while_a_process_writes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with House(home=home) as house:
        for n in range(20):
            tenant = "clinic" if n % 2 else "b\x1b[31mank"
            facts = {"endpoint": "e", "outcome": "ok", "status": 200, "tenant": tenant, "completion_tokens": n}
            house.ledger.append(RequestEntry(at=1000.0 * n, request_id=f"req-{n}", **facts))
        query = "select tenant, count(*) as n, sum(completion_tokens) as tokens from requests group by 1 order by 1"
        asked = tokenworks(home, "ledger", "sql", query, "--engine", "database")
        assert asked.returncode == 0, asked.stderr
        assert asked.stdout.split() == ["tenant", "n", "tokens", "b\ufffd[31mank", "10", "90", "clinic", "10", "100"]
        told = tokenworks(home, "--json", "ledger", "sql", query)
        assert json.loads(told.stdout)[1] == {"tenant": "clinic", "n": 10, "tokens": 100}
        out = tmp_path / "out.jsonl"
        done = tokenworks(home, "ledger", "export", "--out", str(out), "--since", "1970-01-01T05:00:00Z")
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["request_id"] for line in out.read_text().splitlines()] == ["req-18", "req-19"]
        assert "20 entries folded" in tokenworks(home, "ledger", "fold", "--rebuild").stdout
        wrong = tokenworks(home, "ledger", "sql", "delete from requests", "--engine", "database")
        assert (wrong.returncode, "query: not authorized" in wrong.stderr) == (2, True)
        assert tokenworks(home, "ledger", "export", "--out", str(out), "--format", "xml").returncode == 2


def test_a_time_is_a_span_a_day_or_seconds() -> None:
    assert since_of("") is None
    assert since_of("12.5") == 12.5
    assert since_of("1970-01-02") == 86_400.0
    assert since_of("1970-01-01T01:00:00+01:00") == 0.0
    with pytest.raises(ConfigError, match="write 7d"):
        since_of("yesterday")
