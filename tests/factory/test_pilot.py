"""A turn waits for its hour, for no longer than it may, across restarts; what has to be forgotten waits for nothing."""

from __future__ import annotations

import pytest

from tokenworks.core.clock import SystemClock
from tokenworks.factory import Factory
from tokenworks.factory.due import mark
from tokenworks.factory.pilot import DEFERRED, Pilot
from tokenworks.flywheel.turn.pilot import Wanted
from tokenworks.metering.deferral import HOUR_S, Deferral, at_once
from tokenworks.settings import load_settings

NOW = 1_790_812_800.0
CHEAP_AT = NOW + 6 * HOUR_S
TURN, GO_ON = (Wanted("route", action, "feedback") for action in ("turn", "go-on"))


class At(SystemClock):
    """A clock that is set by hand."""

    at = NOW

    def now(self) -> float:
        return self.at


@pytest.fixture
def factory(tmp_path):
    with Factory(load_settings(home=tmp_path, environ={})) as opened:
        opened.clock = At()
        yield opened


def pilot(factory, within_h: float) -> Pilot:
    night = Deferral(lambda at: 10.0 if at >= CHEAP_AT else 30.0, name="price", length_s=HOUR_S, gain=0.05, look_s=60.0)
    return Pilot(factory, lambda: None, night, within_h * HOUR_S)


def test_a_turn_waits_for_its_hour_and_what_has_begun_goes_on(factory):
    held = pilot(factory, 12)
    assert not held._has_its_hour(TURN)
    assert held._has_its_hour(GO_ON)
    factory.clock.at = CHEAP_AT
    assert held._has_its_hour(TURN)
    assert factory.catalog.objects.get(DEFERRED, "route") is None


def test_how_long_it_has_waited_outlives_a_restart(factory):
    assert not pilot(factory, 7)._has_its_hour(TURN)  # 6 hours from now would do
    factory.clock.at = NOW + 3 * HOUR_S
    assert not pilot(factory, 7)._has_its_hour(TURN)
    assert pilot(factory, 3)._has_its_hour(TURN)  # it was asked for three hours ago


def test_what_learned_from_erased_data_waits_for_nothing(factory):
    mark(factory.catalog, "route", now=NOW, erasure="erasure-1", versions=["route@1"])
    assert pilot(factory, 12)._has_its_hour(TURN)


def test_without_better_hours_nothing_is_kept(factory):
    assert Pilot(factory, lambda: None, at_once)._has_its_hour(TURN)
    assert factory.catalog.objects.get(DEFERRED, "route") is None
