"""A plug, rack unit or inverter that tells its figures as JSON by HTTP: its energy register, or its power."""

from __future__ import annotations

from tokenworks.core.errors import ConfigError
from tokenworks.metering.asking import ask
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.source import MeterError, Sample, check_unit, sample_of
from tokenworks.settings import MeterSettings

COUNTER_ERROR = (
    0.01  # a billing meter of class 1 (IEC 62053-21); a cheap plug has 2 to 3 times as much: set meter.error
)
SAMPLE_ERROR = 0.05


def open_source(settings: MeterSettings, calibration: Calibration) -> Wall:
    """Return the meter at `meter.url`; raise `ConfigError` where the settings do not say what to read."""
    if not settings.url.startswith(("http://", "https://")) or not settings.field:
        raise ConfigError("meter.source wall needs meter.url, http://..., and meter.field, such as emeters.0.total")
    return Wall(settings)


class Wall:
    """One figure of one answer."""

    by_processor = True

    def __init__(self, settings: MeterSettings) -> None:
        counts = check_unit(settings.unit) == "counter"
        self.grade = "wall" if counts else "sampled"
        self.error = settings.error or (COUNTER_ERROR if counts else SAMPLE_ERROR)
        self._url, self._field, self._unit, self._header = settings.url, settings.field, settings.unit, settings.header

    def read(self) -> list[Sample]:
        """Return the figure."""
        return [sample_of(self._field, _at(ask(self._url, self._header), self._field), self._unit)]

    def close(self) -> None:
        """Nothing is held."""


def _at(found: object, path: str) -> object:
    """Return what stands at `path`, names and numbers of places with dots between; raise `MeterError`."""
    for step in path.split("."):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            has = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
            raise MeterError(f"the meter's answer has no {step!r} of {path!r}; there it has: {has[:200]}")
    return found
