"""Processors and memory by Linux powercap (RAPL): energy counters in microjoules, one for each package.

Format: Documentation/power/powercap/powercap.rst of the kernel. Since 5.10 only root may read them (CVE-2020-8694).
"""

from __future__ import annotations

from pathlib import Path

from tokenworks.core.errors import ConfigError
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.source import MeterError, Sample
from tokenworks.settings import MeterSettings

USUAL_ERROR = 0.05  # against the wall, once the parts it does not see are left out: arXiv 1711.03308 (RAPL in Action)


def open_source(settings: MeterSettings, calibration: Calibration) -> Rapl:
    """Return the packages of this machine; raise `ConfigError` where there are none, or they may not be read."""
    root = Path(settings.powercap)
    zones = sorted(path for path in root.glob("*-rapl:*") if _counts(path))
    if not zones:
        raise ConfigError(f"{root} has no RAPL package; use another meter.source, such as wall or model")
    rapl = Rapl(zones, settings.error or USUAL_ERROR)
    try:
        rapl.read()
    except MeterError as error:
        raise ConfigError(f"{error}; let the server read it: chmod a+r {zones[0] / 'energy_uj'}") from None
    return rapl


def _counts(zone: Path) -> bool:
    """Return whether `zone` stands for energy that no other one counts too: packages, and memory where it is apart.

    Cores and graphics (`core`, `uncore`) are inside their package; `psys` counts all packages once more. The same
    package shows up under intel-rapl and under intel-rapl-mmio: only the first is taken.
    """
    if "mmio" in zone.name or not (zone / "energy_uj").exists():
        return False
    name = _text(zone / "name")
    return name.startswith("package") or name == "dram"


class Rapl:
    """The counters of some zones. A zone that cannot be read makes all unreadable: a part is no sum."""

    grade = "rapl"
    by_processor = True

    def __init__(self, zones: list[Path], error: float) -> None:
        self.error = error
        self._zones = [(f"{zone.name} ({_text(zone / 'name')})", zone / "energy_uj", _range_j(zone)) for zone in zones]

    def read(self) -> list[Sample]:
        """Return joules by zone."""
        return [Sample(name, _number(path) / 1e6, range_j=range_j) for name, path, range_j in self._zones]

    def close(self) -> None:
        """Nothing is held."""


def _range_j(zone: Path) -> float:
    return _number(zone / "max_energy_range_uj") / 1e6


def _number(path: Path) -> float:
    text = _text(path)
    try:
        return float(text)
    except ValueError:
        raise MeterError(f"{path} says {text!r}, which is no number") from None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise MeterError(f"{path} cannot be read: {error.strerror}") from None
