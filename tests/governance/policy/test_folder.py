"""Files become the set in force, and broken ones do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.governance.policy.engine import Policies
from tokenworks.governance.policy.folder import InForce

NIGHT = '@id("night") forbid(principal, action, resource) when { context.hour < 6 };'


def test_a_home_without_policies_has_the_built_in_ones(tmp_path: Path) -> None:
    in_force = InForce(tmp_path / "policies")
    assert in_force.policies.digest == Policies().digest
    assert not in_force.stale()


def test_a_changed_file_takes_force_once_it_is_taken(tmp_path: Path) -> None:
    in_force = InForce(tmp_path)
    (tmp_path / "night.cedar").write_text(NIGHT)
    assert in_force.stale()
    fresh = in_force.fresh()
    assert fresh is not None
    assert "night" in fresh.ids
    assert "night" not in in_force.policies.ids
    in_force.take(fresh)
    assert "night" in in_force.policies.ids
    assert not in_force.stale()
    (tmp_path / "night.cedar").unlink()
    assert in_force.stale()


def test_a_broken_file_keeps_the_old_set_in_force_and_says_why_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "night.cedar"
    path.write_text(NIGHT)
    in_force = InForce(tmp_path)
    path.write_text("forbid(")
    assert in_force.fresh() is None
    assert "night" in in_force.policies.ids
    assert "night.cedar cannot be read" in in_force.problem
    assert not in_force.stale()  # it is not read again until it changes
    path.write_text(NIGHT.replace("6", "7"))
    assert in_force.stale()
    assert in_force.fresh() is not None
    assert in_force.problem == ""


def test_a_touched_file_that_says_the_same_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "night.cedar"
    path.write_text(NIGHT)
    in_force = InForce(tmp_path)
    path.unlink()
    path.write_text(NIGHT)
    assert in_force.fresh() is None
    assert not in_force.stale()


def test_a_home_that_starts_with_broken_policies_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "night.cedar").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"night\.cedar are not UTF-8 at byte 0"):
        InForce(tmp_path)
