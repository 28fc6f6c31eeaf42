"""The calibrated model."""

from __future__ import annotations

import random
from collections import namedtuple

import psutil
import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.power.model import Model, open_source
from tokenworks.metering.processor import busy_core_s, cores
from tokenworks.settings import MeterSettings


def test_it_is_the_line_between_idle_and_busy() -> None:
    now, worked = [0.0], [0.0]
    model = Model(60.0, 180.0, 0.3, clock=lambda: now[0], busy=lambda: worked[0])
    now[0], worked[0] = 10.0, 10.0 * cores() / 2  # half of the cores for ten seconds
    assert sum(sample.value for sample in model.read()) == pytest.approx(10 * 120)


def test_it_follows_the_work_of_this_machine() -> None:
    model = open_source(MeterSettings(source="model", idle_w=1e-9, busy_w=float(cores())), Calibration())
    before, began = model.read()[1].value, busy_core_s()
    while busy_core_s() - began < 0.05:
        sum(range(20_000))
    assert model.read()[1].value - before >= 0.05 - 1e-9


def test_the_work_of_a_machine_that_has_long_been_up_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times come in hundredths, which floating point does not have: what is left of a sum of them may fall."""
    rng = random.Random(0)
    ticks = dict.fromkeys(("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest"), 9_876_543)
    times = namedtuple("times", ticks)
    monkeypatch.setattr(psutil, "cpu_times", lambda: times(*(count / 100 for count in ticks.values())))
    last = began = busy_core_s()
    for _ in range(2000):
        ticks[rng.choice([*ticks, "idle", "idle", "iowait"])] += rng.randrange(4)
        now = busy_core_s()
        assert now >= last
        last = now
    worked = sum(ticks[name] - 9_876_543 for name in ("user", "nice", "system", "irq", "softirq"))
    assert last - began == pytest.approx(worked / 100)


def test_a_calibration_gives_its_powers_and_its_uncertainty() -> None:
    model = open_source(MeterSettings(), Calibration(idle_w=50, busy_w=90, error=0.07, meter="wall"))
    assert model.error == 0.07
    assert open_source(MeterSettings(idle_w=40, busy_w=90), Calibration()).error == 0.3


@pytest.mark.parametrize(("idle_w", "busy_w"), [(0.0, 0.0), (90.0, 40.0), (float("nan"), 90.0)])
def test_a_machine_that_was_not_calibrated_is_told_how(idle_w: float, busy_w: float) -> None:
    with pytest.raises(ConfigError, match="tokenworks meter calibrate"):
        open_source(MeterSettings(idle_w=idle_w, busy_w=busy_w), Calibration())
