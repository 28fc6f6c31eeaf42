"""RAPL by a folder of the kernel's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.power import rapl
from tokenworks.metering.source import MeterError
from tokenworks.settings import MeterSettings


def opened(root: Path, **changes: Any) -> rapl.Rapl:
    return rapl.open_source(MeterSettings(powercap=str(root), **changes), Calibration())


def test_packages_and_memory_are_counted_once_and_their_parts_not_again(powercap: Any) -> None:
    powercap.count("intel-rapl:0", 123.456789)
    samples = opened(powercap.root).read()
    assert [one.zone for one in samples] == [
        "intel-rapl:0 (package-0)",
        "intel-rapl:0:1 (dram)",
        "intel-rapl:1 (package-1)",
        "intel-rapl:1:1 (dram)",
    ]
    assert samples[0].value == pytest.approx(123.456789)
    assert samples[0].range_j == pytest.approx(262143.328850)


def test_a_machine_without_counters_is_told_what_to_use_instead(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no RAPL package; use another meter\.source"):
        opened(tmp_path)


def test_a_counter_that_vanishes_is_an_error_and_not_a_smaller_sum(powercap: Any) -> None:
    source = opened(powercap.root)
    (powercap.root / "intel-rapl:1" / "energy_uj").unlink()
    with pytest.raises(MeterError, match="cannot be read"):
        source.read()


def test_a_counter_that_says_no_number_is_an_error(powercap: Any) -> None:
    source = opened(powercap.root)
    (powercap.root / "intel-rapl:0" / "energy_uj").write_text("<busy>\n")
    with pytest.raises(MeterError, match="no number"):
        source.read()


def test_its_uncertainty_is_the_usual_one_or_the_operators(powercap: Any) -> None:
    assert opened(powercap.root).error == 0.05
    assert opened(powercap.root, error=0.2).error == 0.2
