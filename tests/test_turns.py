"""What is known of the run's units is true of the tests that there are."""

import re
from pathlib import Path

from turns import LONG_S, group_of, unit_of

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("test_*.py"))


def test_every_long_unit_is_a_file_or_a_group_that_there_is():
    names = {path.relative_to(TESTS.parent).as_posix() for path in FILES}
    assert set(LONG_S) <= names | {group_of(path) for path in FILES}


def test_every_group_is_named_where_it_is_looked_for():
    named = [
        path for path in FILES if path.name != "test_turns.py" and re.search(r"mark\.xdist_group", path.read_text())
    ]
    assert named
    assert [path for path in named if not group_of(path)] == []


def test_a_test_runs_with_its_group_or_with_its_file():
    root = TESTS.parent
    assert unit_of("tests/system/test_kill.py::test_one[a::b@c]", root) == "kill"
    assert unit_of("tests/chaos/test_kill_turn.py::test_two", root) == "kill"
    assert unit_of("tests/test_turns.py::test_three@some-group", root) == "tests/test_turns.py"
