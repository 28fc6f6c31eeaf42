"""Erasure: what somebody wrote is in no byte of the home, the log verifies, and models that learned it are named."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from factory.erasable import HER, TASK, Erasable, bytes_below, open_home
from tokenworks.core.errors import ConfigError, ErasedError, NotFoundError
from tokenworks.core.ids import pseudonym
from tokenworks.factory.due import due, mark
from tokenworks.factory.erasing import erase, look, resume, unlearned
from tokenworks.factory.reach import journals, target_of
from tokenworks.ledger.entries import ErasureEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.verify import verify
from tokenworks.line.release.lineage import lineage, render

ADA = target_of(user="ada@example.org", tenant="clinic")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Erasable]:
    made = open_home(tmp_path / "home")
    made.converse()
    yield made
    made.house.close()


def erasures(home: Erasable) -> list[ErasureEntry]:
    return [entry for _, entry in read(home.house.ledger_root) if isinstance(entry, ErasureEntry)]


def test_what_a_user_wrote_is_in_no_byte_and_the_log_still_verifies(home):
    chosen, version = home.learn()
    assert b"zanzibar" in bytes_below(home.house.home)
    done = erase(home.house, ADA, by="officer")
    assert (done.requests, done.feedback, done.versions, done.released) == (6, 6, ("route@1",), ("route@1",))
    assert b"zanzibar" not in bytes_below(home.house.home)
    assert b"bobs own" in bytes_below(home.house.home)
    assert verify(home.house.ledger_root).ok
    (entry,) = erasures(home)
    assert (entry.user, entry.tenant, entry.requests, entry.versions, entry.by) == (
        HER,
        "clinic",
        6,
        ("route@1",),
        "officer",
    )
    with pytest.raises(ErasedError, match=done.erasure_id):
        home.house.artifacts.get_bytes(chosen.signals)
    tree = render(lineage(version, catalog=home.house.catalog, artifacts=home.house.artifacts))
    assert "erased on request" in tree


def test_a_dry_run_says_the_same_and_changes_nothing(home):
    home.learn()
    before = bytes_below(home.house.home).count(b"zanzibar")
    said = look(home.house, ADA)
    assert bytes_below(home.house.home).count(b"zanzibar") == before
    assert (journals(home.house.catalog), due(home.house.catalog, "route").reason) == ([], "")
    done = erase(home.house, ADA, by="officer")
    assert msgspec.structs.replace(said, erasure_id=done.erasure_id) == done


def test_the_task_is_due_until_a_version_without_the_data_answers(home):
    home.learn()
    done = erase(home.house, ADA, by="officer")
    marked = due(home.house.catalog, "route")
    assert (marked.erasures, marked.versions) == ((done.erasure_id,), ("route@1",))
    assert "route@1 learned from erased data" in marked.reason
    assert unlearned(home.house) == {"route": "route@1"}
    chosen, version = home.learn()
    assert {row["request_id"] for row in home.traffic.rows(chosen.members)}
    assert (version.ref, unlearned(home.house)) == ("route@2", {})


def test_one_request_can_be_erased_alone(home):
    home.learn()
    target = target_of(request="req-00003")
    done = erase(home.house, target, by="officer")
    assert (done.requests, done.feedback) == (1, 1)
    assert home.house.bodies.is_erased("req-00003")
    assert not home.house.bodies.is_erased("req-00007")
    (entry,) = erasures(home)
    assert (entry.request_id, entry.tenant) == ("req-00003", "clinic")
    assert b"zanzibar 0" not in bytes_below(home.house.home)
    assert b"zanzibar 1" in bytes_below(home.house.home)


def test_what_a_user_said_of_somebody_elses_request_goes_too(home):
    request = home.traffic.ask("bobs own question", user=pseudonym("clinic", "bob@example.org"))
    home.traffic.say(request, "sansibar street 7", user=HER)
    done = erase(home.house, ADA, by="officer")
    assert (done.requests, done.feedback) == (6, 7)
    assert b"sansibar" not in bytes_below(home.house.home)
    assert home.house.bodies.get(request) is not None


def test_erasing_again_finds_nothing_to_do_and_writes_nothing(home):
    home.learn()
    first = erase(home.house, ADA, by="officer")
    entries = verify(home.house.ledger_root).entries
    assert erase(home.house, ADA, by="officer") == first
    assert [one.erasure_id for one in resume(home.house)] == [first.erasure_id]
    assert verify(home.house.ledger_root).entries == entries
    home.traffic.ask("zanzibar once more", user=HER)
    assert erase(home.house, ADA, by="officer").erasure_id != first.erasure_id
    assert len(erasures(home)) == 2


def test_what_a_user_asks_after_an_erasure_is_not_meant_by_it(home):
    erase(home.house, ADA, by="officer")
    later = home.traffic.ask("zanzibar", user=HER, at=home.house.clock.now() + 1)
    resume(home.house)
    assert home.house.bodies.get(later) is not None


def test_a_selection_of_before_is_worked_anew_without_the_erased(home):
    until = home.house.clock.now()
    before, _ = home.learn(until=until)
    erase(home.house, ADA, by="officer")
    after = home.traffic.select(TASK, until=until)
    assert after.train != before.train
    assert all("zanzibar" not in row["text"] for row in home.traffic.learned(after))


def test_unknown_users_requests_and_wrong_questions_are_told(home):
    with pytest.raises(NotFoundError, match="user of tenant clinic is not on the ledger"):
        erase(home.house, target_of(user="nobody", tenant="clinic"), by="officer")
    with pytest.raises(NotFoundError, match="request req-x is not on the ledger"):
        look(home.house, target_of(request="req-x"))
    with pytest.raises(NotFoundError, match="was never read here"):
        look(home.house, target_of(document="docs/no.md"))
    for wrong in ({}, {"user": "a", "request": "b"}, {"document": "no-slash"}):
        with pytest.raises(ConfigError):
            target_of(**wrong)
    assert journals(home.house.catalog) == []


def test_marks_are_merged_and_a_new_one_asks_anew(home):
    catalog = home.house.catalog
    mark(catalog, "route", now=1.0, erasure="er-1", versions=["route@1"])
    mark(catalog, "route", now=2.0, erasure="er-1", versions=["route@1"])
    assert catalog.objects.get("due", "route").created_at == 1.0
    mark(catalog, "route", now=3.0, documents=True)
    found = due(catalog, "route")
    assert (found.erasures, found.documents, found.since) == (("er-1",), True, 1.0)
    assert catalog.objects.get("due", "route").created_at == 3.0


KILLED = """
    import os, sys, threading, time
    from pathlib import Path
    from factory.erasable import open_home
    from tokenworks.factory.erasing import erase
    from tokenworks.factory.reach import target_of
    home = open_home(Path(sys.argv[1]))
    calls, last = 0, int(sys.argv[2])
    def trace(frame, event, arg):
        global calls
        if "tokenworks/factory/erasing" in frame.f_code.co_filename or "ledger/blank" in frame.f_code.co_filename:
            def line(frame, event, arg):
                global calls
                calls += event == "line"
                if calls == last:
                    os.kill(os.getpid(), 9)
                return line
            return line
        return None
    sys.settrace(trace)
    erase(home.house, target_of(user="ada@example.org", tenant="clinic"), by="officer")
    sys.settrace(None)
    print("whole", calls)
"""


def test_killed_at_any_line_it_is_finished_by_the_next_start(tmp_path):
    lines = random.Random(7)
    for attempt in range(3):
        folder = tmp_path / f"home{attempt}"
        made = open_home(folder)
        made.converse()
        made.learn()
        made.house.close()
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), str(lines.randrange(20, 260))]
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        tests = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        ended = subprocess.run(command, env=tests, capture_output=True, text=True, check=False)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        made = open_home(folder)
        resume(made.house)
        erase(made.house, ADA, by="officer")  # a kill before the journal was begun leaves nothing to go on with
        assert b"zanzibar" not in bytes_below(folder)
        assert len(erasures(made)) == 1
        assert all(one.done for one in journals(made.house.catalog))
        assert due(made.house.catalog, "route").versions == ("route@1",)
        made.house.close()
