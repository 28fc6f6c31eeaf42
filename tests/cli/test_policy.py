"""`tokenworks policy`: checked, tried on cases, explained; wrong files and unexpected decisions end with a status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from system.processes import tokenworks

NIGHT = """
@id("night") @reason("nobody asks the router at night")
forbid(principal, action == Action::"infer", resource == Model::"route") when { context.hour < 6 };
"""
CASES = """
[[case]]
name = "nobody routes at night"
expect = "deny"
by = "night"
facts = { model = "route", hour = 3 }

[[case]]
name = "by day everybody may"
expect = "allow"
facts = { model = "route", hour = 9 }
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "night.cedar").write_text(NIGHT)
    (tmp_path / "policies" / "router.test.toml").write_text(CASES)
    return tmp_path


def test_cases_hold_or_end_with_status_1_and_the_reason(home: Path) -> None:
    done = tokenworks(home, "policy", "test")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 of 2 cases as expected")
    (home / "policies" / "night.cedar").write_text(NIGHT.replace("hour < 6", "hour < 2"))
    changed = tokenworks(home, "policy", "test")
    assert changed.returncode == 1
    assert "WRONG  nobody routes at night: allowed by ask-models" in changed.stdout
    assert "expected deny by night" in changed.stdout


def test_a_decision_is_explained_in_words_and_as_json(home: Path) -> None:
    shown = json.loads(tokenworks(home, "--json", "policy", "explain", "route", "--hour", "3").stdout)
    assert (shown["allowed"], shown["policies"]) == (False, ["night"])
    assert shown["why"] == "denied by policy night because nobody asks the router at night"


def test_a_file_that_does_not_fit_ends_with_status_2_and_its_name(home: Path) -> None:
    (home / "policies" / "night.cedar").write_text(NIGHT.replace("context.hour", "context.our"))
    done = tokenworks(home, "policy", "check")
    assert done.returncode == 2
    assert "policies in night.cedar do not fit the schema" in done.stderr


def test_a_case_that_cannot_be_meant_ends_with_status_2_and_its_file(home: Path) -> None:
    (home / "policies" / "router.test.toml").write_text(CASES.replace("hour = 3", "hour = 33"))
    done = tokenworks(home, "policy", "test")
    assert done.returncode == 2
    assert "router.test.toml: case 'nobody routes at night': hour 33 does not exist" in done.stderr
