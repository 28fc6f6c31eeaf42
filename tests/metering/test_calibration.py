"""Calibrating a machine, with a meter that follows its load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.metering.calibration import Calibration, calibrate, read_calibration, write_calibration


def calibrated(watts: dict[float, float]) -> Calibration:
    shares: list[float] = []
    return calibrate(
        lambda seconds: watts[shares[-1]],
        lambda share, seconds: shares.append(share),
        meter="wall",
        error=0.01,
        seconds=1.0,
        settle_s=0.0,
    )


def test_idle_and_busy_are_measured_and_the_middle_says_how_straight_the_line_is() -> None:
    found = calibrated({0.0: 60.0, 0.5: 130.0, 1.0: 180.0})
    assert (found.idle_w, found.busy_w, found.meter) == (60.0, 180.0, "wall")
    assert found.error == pytest.approx((0.01**2 + (10 / 130) ** 2) ** 0.5)


@pytest.mark.parametrize("busy_w", [60.0, 40.0, float("nan")])
def test_a_meter_that_does_not_follow_the_load_is_refused(busy_w: float) -> None:
    with pytest.raises(ConfigError, match="do not rise"):
        calibrated({0.0: 60.0, 0.5: 100.0, 1.0: busy_w})


def test_it_is_kept(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) == Calibration()
    found = calibrated({0.0: 60.0, 0.5: 120.0, 1.0: 180.0})
    write_calibration(tmp_path, found)
    assert read_calibration(tmp_path) == found
