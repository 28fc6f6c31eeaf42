"""The meter that the settings name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tokenworks import parts
from tokenworks.core.errors import ConfigError
from tokenworks.metering.calibration import Calibration, write_calibration
from tokenworks.metering.opening import ROOM, open_meter
from tokenworks.settings import MeterSettings


def test_none_is_no_meter(tmp_path: Path) -> None:
    assert open_meter(MeterSettings(), tmp_path) is None


def test_every_kind_of_meter_is_found_by_its_file() -> None:
    assert parts.names(ROOM) == ["model", "nvml", "prometheus", "rapl", "wall"]


@pytest.mark.parametrize("source", ["rapl+none", "rapl+rapl", "", "rapl+"])
def test_a_list_that_cannot_be_meant_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError, match=r"meter\.source"):
        open_meter(MeterSettings(source=source), tmp_path)


def test_a_kind_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'raple' does not exist; did you mean 'rapl'"):
        open_meter(MeterSettings(source="raple"), tmp_path)


def test_intervals_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"meter\.interval_s"):
        open_meter(MeterSettings(source="rapl", interval_s=0.0), tmp_path)


def test_two_meters_are_added_up_and_are_as_good_as_the_worse(powercap: Any, plug: Any, tmp_path: Path) -> None:
    plug.says["/"] = {"wh": 10.0}
    settings = MeterSettings(
        source="rapl+wall", powercap=str(powercap.root), url=plug.url + "/", field="wh", unit="Wh", error=0.1
    )
    meter = open_meter(settings, tmp_path)
    assert meter is not None
    assert meter.read() is None
    plug.says["/"] = {"wh": 10.001}  # 3.6 J
    powercap.count("intel-rapl:0", 11.0)
    time.sleep(0.02)
    found = meter.read()
    assert found is not None
    assert found.span.joules == pytest.approx(13.6)
    assert found.error == pytest.approx(0.1 * (10**2 + 3.6**2) ** 0.5 / 13.6)
    assert meter.grade == "rapl"
    meter.close()


def test_when_one_of_two_cannot_be_read_the_other_waits_and_loses_nothing(
    powercap: Any, plug: Any, tmp_path: Path
) -> None:
    plug.says["/"] = {"wh": 10.0}
    settings = MeterSettings(source="rapl+wall", powercap=str(powercap.root), url=plug.url + "/", field="wh")
    meter = open_meter(settings, tmp_path)
    assert meter is not None
    meter.read()
    powercap.count("intel-rapl:0", 3.0)
    plug.says["/"] = {"wh": "NaN"}
    assert meter.read() is None
    assert "wh says nan" in meter.trouble
    plug.says["/"] = {"wh": 10.001}
    powercap.count("intel-rapl:0", 5.0)
    found = meter.read()
    assert found is not None
    assert found.span.joules == pytest.approx(4.0 + 3.6)
    meter.close()


def test_the_idle_power_of_another_meter_says_nothing_about_this_one(powercap: Any, tmp_path: Path) -> None:
    write_calibration(tmp_path, Calibration(idle_w=60, busy_w=180, meter="wall", error=0.02))
    settings = MeterSettings(source="rapl", powercap=str(powercap.root))
    meter = open_meter(settings, tmp_path)
    assert meter is not None
    assert meter.idle_w == 0.0
    write_calibration(tmp_path, Calibration(idle_w=8, busy_w=40, meter="rapl", error=0.06))
    meter = open_meter(settings, tmp_path)
    assert meter is not None
    assert meter.idle_w == 8.0


def test_a_calibration_that_was_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text('{"idle_w": "much"}')
    with pytest.raises(ConfigError, match=r"calibration\.json"):
        open_meter(MeterSettings(source="model"), tmp_path)
