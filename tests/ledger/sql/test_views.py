"""The tables say what the log says, however and however often they were folded."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError, IntegrityError
from tokenworks.core.model import Release
from tokenworks.ledger.entries import (
    Entry,
    ErasureEntry,
    FeedbackEntry,
    ReleaseEntry,
    RequestEntry,
    StageEntry,
    TurnEntry,
)
from tokenworks.ledger.reader import read
from tokenworks.ledger.spending import charged
from tokenworks.ledger.sql import views as folding
from tokenworks.ledger.sql.tables import COLUMNS
from tokenworks.ledger.sql.views import Views, open_views
from tokenworks.ledger.writer import Ledger

DAY_S = 86_400.0
names = st.sampled_from(["", "clinic", "bank", "a'b", "tab\there", "back\\slash", "ünïcode", "NULL"])
requests = st.builds(
    RequestEntry,
    at=st.floats(0, 40 * DAY_S),
    request_id=names,
    endpoint=st.just("chat.completions"),
    outcome=st.sampled_from(["ok", "failed", "refused"]),
    status=st.sampled_from([200, 400, 500]),
    tenant=names,
    key_id=names,
    model=st.sampled_from(["route", "route@1", "remote"]),
    prompt_tokens=st.integers(0, 10**6),
    completion_tokens=st.integers(0, 10**6),
    arm=st.sampled_from(["", "shadow"]),
    learn=st.booleans(),
)
others: st.SearchStrategy[Entry] = st.one_of(
    st.builds(
        FeedbackEntry, at=st.floats(0, 9e9), feedback_id=names, request_id=names, rating=st.none() | st.integers(-1, 1)
    ),
    st.builds(
        StageEntry,
        at=st.floats(0, 9e9),
        task=names,
        stage=names,
        key=names,
        outputs=st.dictionaries(names, names, max_size=2),
        seconds=st.floats(0, 9),
        hit=st.booleans(),
    ),
    st.builds(TurnEntry, at=st.floats(0, 9e9), task=names, number=st.integers(0, 9), verdict=names),
    st.builds(
        ErasureEntry,
        at=st.floats(0, 9e9),
        erasure_id=names,
        tenant=names,
        versions=st.lists(names, max_size=2).map(tuple),
    ),
    st.builds(
        ReleaseEntry,
        at=st.floats(0, 9e9),
        release=st.builds(
            Release,
            id=names,
            alias=names,
            model=names,
            version=st.integers(0, 9),
            action=names,
            reason=names,
            by=names,
            at=st.floats(0, 9e9),
        ),
    ),
)
written = st.lists(st.tuples(st.sampled_from(["a-0", "b-0"]), requests | others), max_size=30)


def everything(views: Views) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for table, columns in COLUMNS.items():
        order = "1, 2, 3, 4, 5" if table == "usage" else "1, 2"
        names = ", ".join(f'"{column.name}"' for column in columns)
        with views.ask(f"SELECT {names} FROM {table} ORDER BY {order}") as answer:
            found[table] = [tuple(row) for row in answer.rows]
    return found


def write(root: Path, entries: list[tuple[str, Entry]]) -> None:
    for writer in {writer for writer, _ in entries}:
        with Ledger(root, writer, segment_bytes=1 << 16) as ledger:
            for name, entry in entries:
                if name == writer:
                    ledger.submit(entry)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(written, min_size=1, max_size=3))
def test_tables_folded_in_steps_are_those_folded_at_once(parts: list[list[tuple[str, Entry]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "ledger"
        root.mkdir()
        with open_views(root, Path(name) / "steps", "sqlite://") as steps:
            added = 0
            for part in parts:
                write(root, part)
                added += steps.catch_up()
            assert added == sum(map(len, parts))
            in_steps = everything(steps)
            assert steps.rebuild() == added
            assert everything(steps) == in_steps
        entries = [entry for _, entry in read(root) if isinstance(entry, RequestEntry)]
        sums = [sum(row[column] for row in in_steps["usage"]) for column in (5, 7, 9, 10)]
        assert sums == [
            len(entries),
            sum(one.prompt_tokens for one in entries),
            sum(one.completion_tokens for one in entries),
            sum(map(charged, entries)),
        ]
        assert sum(len(rows) for table, rows in in_steps.items() if table != "usage") == added


def test_every_database_says_the_same_as_the_log(opened: Any, tmp_path: Path, entry: Any) -> None:
    root = tmp_path / "ledger"
    odd = entry(3, at=2 * DAY_S, model="a\tb\\c\nd'e", tenant="clinic", prompt_tokens=7, learn=False)
    given = FeedbackEntry(at=5.0, feedback_id="f", request_id="req-0", rating=None, outcome=0.25)
    stage = StageEntry(at=6.0, task="t", stage="s", key="k", outputs={"a": "1\t2"}, seconds=0.5, hit=True)
    write(root, [("a-0", entry(0, tenant="bank", completion_tokens=5)), ("a-0", given), ("b-0", odd), ("b-0", stage)])
    with opened(root) as views:
        assert views.catch_up() == 4
        assert views.catch_up() == 0
        with views.ask("SELECT model, learn, prompt_tokens, at FROM requests WHERE tenant = ?", ("clinic",)) as found:
            assert [tuple(row) for row in found.rows] == [("a\tb\\c\nd'e", False, 7, 2 * DAY_S)]
        with views.ask("SELECT day, tenant, requests, charged_tokens FROM usage ORDER BY day") as found:
            assert [tuple(row) for row in found.rows] == [("1970-01-01", "bank", 1, 5), ("1970-01-03", "clinic", 1, 7)]
        with views.ask("SELECT outputs, hit FROM stages") as found:
            assert [tuple(row) for row in found.rows] == [('{"a":"1\\t2"}', True)]
        with views.ask("SELECT rating, outcome FROM feedback") as found:
            assert [tuple(row) for row in found.rows] == [(None, 0.25)]
        before = everything(views)
        assert views.rebuild() == 4
        assert everything(views) == before


def test_what_a_newer_version_would_keep_otherwise_is_folded_anew(opened: Any, tmp_path: Path, entry: Any) -> None:
    root = tmp_path / "ledger"
    write(root, [("a-0", entry(0))])
    with opened(root) as views:
        views.catch_up()
        with views._database.fold() as fold:  # as an older version would have left it
            runner = fold._database  # type: ignore[attr-defined]
            runner.execute("UPDATE form SET name = 'older'")
            runner.execute("DROP TABLE turns")
    with opened(root) as views:
        assert views.catch_up() == 1
        assert everything(views)["turns"] == []


def test_a_query_cannot_change_the_tables(opened: Any, tmp_path: Path, entry: Any) -> None:
    root = tmp_path / "ledger"
    write(root, [("a-0", entry(0))])
    with opened(root) as views:
        views.catch_up()
        for query in ("DELETE FROM requests", "DROP TABLE requests", "UPDATE places SET last = 7", "SELEC 1"):
            with pytest.raises(ConfigError, match="query"), views.ask(query) as answer:
                list(answer.rows)
        with views.ask("SELECT count(*) FROM requests") as answer:
            assert list(answer.rows) == [(1,)]


def test_a_sqlite_query_reaches_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    with open_views(tmp_path / "ledger", tmp_path / "views", "sqlite://") as views:
        for query in ("ATTACH 'other.db' AS x", "PRAGMA journal_mode=DELETE"):
            with pytest.raises(ConfigError, match="not authorized"), views.ask(query):
                pass


def test_two_processes_that_fold_at_once_double_nothing(opened: Any, tmp_path: Path, entry: Any) -> None:
    root = tmp_path / "ledger"
    write(root, [("a-0", entry(number, prompt_tokens=1)) for number in range(3000)])
    everybody = [opened(root) for _ in range(3)]
    added: list[int] = []
    threads = [threading.Thread(target=lambda one=one: added.append(one.catch_up())) for one in everybody]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with everybody[0].ask("SELECT count(*), sum(prompt_tokens) FROM requests") as answer:
        assert [tuple(map(int, row)) for row in answer.rows] == [(3000, 3000)]
    assert sum(added) == 3000
    for one in everybody:
        one.close()


def test_tables_that_another_process_dropped_are_folded_from_the_beginning(
    opened: Any, tmp_path: Path, entry: Any
) -> None:
    root = tmp_path / "ledger"
    write(root, [("a-0", entry(0))])
    with opened(root) as ours, opened(root) as theirs:
        ours.catch_up()
        theirs._database.drop()
        write(root, [("a-0", entry(1))])
        assert ours.catch_up() == 2


def test_damage_is_said_and_what_came_before_it_stays(
    tmp_path: Path, entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "BATCH", 10)
    root = tmp_path / "ledger"
    with Ledger(root, "a-0") as ledger:
        for number in range(30):
            ledger.append(entry(number))
    (segment,) = (root / "a-0").glob("*.seg")
    data = bytearray(segment.read_bytes())
    at = data.find(b"req-15")
    data[at] ^= 1
    segment.write_bytes(data)
    with open_views(root, tmp_path / "views", "sqlite://") as views:
        with pytest.raises(IntegrityError, match="damaged"):
            views.catch_up()
        with views.ask("SELECT max(idx) FROM requests") as answer:
            assert list(answer.rows) in ([(9,)], [(14,)])
        data[at] ^= 1
        segment.write_bytes(data)
        views.catch_up()
        with views.ask("SELECT count(*) FROM requests") as answer:
            assert list(answer.rows) == [(30,)]


FOLDS = """
import sys
from pathlib import Path
from tokenworks.ledger.sql import views
views.BATCH = 50
with views.open_views(Path(sys.argv[1]), Path(sys.argv[2]), "sqlite://") as found:
    print("begin", flush=True)
    found.catch_up()
"""


def test_a_fold_that_is_killed_loses_and_doubles_nothing_while_a_writer_writes(tmp_path: Path, entry: Any) -> None:
    root, folder = tmp_path / "ledger", tmp_path / "views"
    killed = 0
    with Ledger(root, "gateway-0") as ledger:
        for turn in range(6):
            for number in range(4000):
                ledger.submit(entry(number, prompt_tokens=1, completion_tokens=2))
            ledger.append(entry(turn))
            command = [sys.executable, "-c", FOLDS, str(root), str(folder)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "begin\n"
                time.sleep(0.01 + 0.02 * turn)
                process.kill()
            killed += process.returncode == -signal.SIGKILL
        assert killed
        with open_views(root, folder, "sqlite://") as views:
            views.catch_up()
            found = everything(views)
            assert len(found["requests"]) == 6 * 4001
            assert sum(row[10] for row in found["usage"]) == 6 * 4000 * 3
            views.rebuild()
            assert everything(views) == found
