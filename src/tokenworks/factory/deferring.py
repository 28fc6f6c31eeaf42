"""Which hours are better for work that nobody waits for: as the settings and the costs file say."""

from __future__ import annotations

from pathlib import Path

import structlog

from tokenworks.core.errors import ConfigError
from tokenworks.factory.costing import costs_sheet
from tokenworks.metering.carbon.intensity import Signal, read_signal
from tokenworks.metering.deferral import HOUR_S, Deferral, MayStart, Value, at_once
from tokenworks.metering.money.costs_file import Sheet
from tokenworks.settings import Settings

LOOK_S = 60.0  # whoever waits looks more often than that
log = structlog.get_logger()


def deferring(settings: Settings) -> MayStart:
    """Return what says whether work may begin; raise `ConfigError` where it cannot know better hours from others."""
    wanted = settings.deferral
    if wanted.by == "nothing":
        return at_once
    sheet = costs_sheet(settings)
    if sheet is None:
        raise ConfigError(f"deferral.by is {wanted.by!r}, and there is no costs file with a tariff or a signal")
    if wanted.length_h <= 0 or wanted.gain >= 1:
        raise ConfigError("deferral.length_h must be above 0 and deferral.gain a share below 1")
    length_s = wanted.length_h * HOUR_S
    if wanted.by == "tariff_aware":
        value, name = _tariff(sheet), "price of electricity"
    else:
        value, name = _carbon(sheet), "carbon intensity"
    return Deferral(value, name=name, length_s=length_s, gain=wanted.gain, look_s=LOOK_S)


def _tariff(sheet: Sheet) -> Value:
    if not sheet.tariffs:
        raise ConfigError(f"{sheet.where}: tariff_aware work needs [[tariffs]]")
    return lambda at: float(sheet.tariffs.at(at))


def _carbon(sheet: Sheet) -> Value:
    if not sheet.file.carbon.signal:
        raise ConfigError(f"{sheet.where}: carbon_aware work needs [carbon] signal: your grid's forecast, by the hour")
    return _Read(sheet.folder / sheet.file.carbon.signal).at


class _Read:
    """The signal in a file that somebody replaces as forecasts come: read anew when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed_ns = -1
        self._signal = self._read()

    def at(self, at: float) -> float | None:
        """Return the value at a Unix time; a file that has become unreadable leaves the one before in force."""
        try:
            self._signal = self._read()
        except (ConfigError, OSError) as error:
            log.warning("signal cannot be read", file=str(self._path), error=str(error))
        return self._signal.at(at)

    def _read(self) -> Signal:
        changed_ns = self._path.stat().st_mtime_ns if self._path.exists() else -2
        if changed_ns != self._changed_ns:
            signal = read_signal(self._path)
            self._changed_ns = changed_ns
            return signal
        return self._signal
