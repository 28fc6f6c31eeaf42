"""What people see and do about releases and trials on the command line."""

from __future__ import annotations

import json

import pytest

from system.processes import tokenworks
from tokenworks.core.model import ModelVersion
from tokenworks.factory import Factory

ABOUT = {"kind": "classify", "label": "internal", "licence": "", "base": "", "stage_key": "", "evaluation": ""}


@pytest.fixture
def home(tmp_path):
    """A home with three versions of `route`, the first of them released."""
    with Factory(home=tmp_path) as factory:
        for number in "123":
            factory.catalog.models.add(
                ModelVersion(model="route", version=0, folder=number * 64, owner="mailto:a@example.org", **ABOUT)
            )
        factory.promote("route@1", reason="the beginning")
    return tmp_path


def test_a_trial_is_begun_shown_and_ended_by_hand(home):
    begun = tokenworks(home, "release", "canary", "route@2", "--share", "0.25", "--reason", "looks better")
    assert begun.stdout.strip() == "route: (route@2 on trial as canary, 25% of the users)"
    shown = tokenworks(home, "release", "show", "route").stdout
    assert "route@1" in shown
    assert "looks better  (route@2 on trial as canary, 25% of the users)" in shown
    (row,) = json.loads(tokenworks(home, "--json", "release", "show", "route").stdout)
    assert (row["version"], row["canary"], row["share"], row["mode"]) == (1, 2, 0.25, "canary")
    assert tokenworks(home, "release", "canary", "route@3", "--shadow").returncode == 0
    back = tokenworks(home, "release", "rollback", "route")
    assert back.stdout.strip() == "route goes on to be answered by route@1; the trial is over"
    ended = tokenworks(home, "release", "end", "route")
    assert ended.stdout.strip() == "route is answered by route@1, for everybody"
    history = tokenworks(home, "release", "history", "route").stdout.splitlines()
    assert [line.split()[1] for line in history] == ["promote", "canary", "canary", "end"]
    assert history[2].endswith("(route@3 on trial as shadow, 10% of the users)")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("canary", "route@2", "--share", "1.5"), "a share of 1.5 is no trial; choose one between 0 and 1"),
        (("canary", "route@1"), "route@1 answers already"),
        (("canary", "route@9"), "route@9 does not exist"),
        (("end", "other"), "nothing was ever released"),
        (("show", "other"), "'other' was never released"),
    ],
)
def test_what_makes_no_trial_is_refused_in_one_line(home, words, says):
    done = tokenworks(home, "release", *words)
    assert done.returncode != 0
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
