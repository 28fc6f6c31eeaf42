"""Reading the mean power of a meter that moves, seldom moves, or does not."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.factory.calibrating import calibrate_machine, look
from tokenworks.settings import Settings


def settings(root, home):
    meter = {"source": "rapl", "powercap": str(root)}
    return msgspec.convert({"home": str(home), "meter": meter}, Settings)


@pytest.fixture
def zone(tmp_path):
    zone = tmp_path / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    (zone / "energy_uj").write_text("5000000\n")
    return zone


def test_the_power_of_a_counter_is_measured(tmp_path, zone):
    over, began_s = threading.Event(), time.monotonic()

    def count():
        while not over.wait(0.002):
            (zone / "new").write_text(f"{round((time.monotonic() - began_s) * 25e6)}\n")
            (zone / "new").replace(zone / "energy_uj")

    thread = threading.Thread(target=count)
    thread.start()
    try:
        found = look(settings(zone.parent, tmp_path), 0.4)
    finally:
        over.set()
        thread.join()
    assert found.watts == pytest.approx(25, rel=0.2)
    assert found.grade == "rapl"


def test_a_counter_that_does_not_move_gives_no_figure(tmp_path, zone):
    found = look(settings(zone.parent, tmp_path), 0.05)
    assert found.watts is None
    assert "has not moved" in found.trouble
    with pytest.raises(ConfigError, match="measures nothing"):
        calibrate_machine(msgspec.convert({"home": str(tmp_path), "meter": {"source": "none"}}, Settings), 0.1)
