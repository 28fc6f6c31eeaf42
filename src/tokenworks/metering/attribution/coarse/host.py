"""The power of a host that has no meter: a line between idle and busy by its engine's time, as somebody wrote it down.

P = idle + (busy - idle) * utilisation (Fan, Weber and Barroso, ISCA 2007), with the engine's busy time for utilisation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tokenworks.core.errors import ConfigError
from tokenworks.metering.opening import Meter, open_meter
from tokenworks.metering.power.model import USUAL_ERROR
from tokenworks.metering.source import Sample
from tokenworks.settings import MeterSettings


class HostModel:
    """A counter that is worked out. `busy_s` is raised by whoever knows how long the engine was busy."""

    grade = "model"
    by_processor = False

    def __init__(
        self, idle_w: float, busy_w: float, error: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.error = error
        self.busy_s = 0.0
        self._idle_w, self._more_w, self._clock, self._began_s = idle_w, busy_w - idle_w, clock, clock()

    def read(self) -> list[Sample]:
        """Return the joules since it was opened."""
        return [
            Sample("idle", self._idle_w * (self._clock() - self._began_s)),
            Sample("work", self._more_w * self.busy_s),
        ]

    def close(self) -> None:
        """Nothing is held."""


def open_host_meter(settings: MeterSettings, folder: Path, where: str) -> Meter:
    """Return the meter of a host elsewhere; raise `ConfigError` naming `where` it is configured."""
    if settings.source != "model":
        meter = open_meter(settings, folder)
        if meter is None:
            raise ConfigError(
                f"{where}: a metrics_url needs a power source: set meter.source to one of wall, prometheus, ..."
            )
        return meter
    if not 0 < settings.idle_w < settings.busy_w:
        raise ConfigError(
            f"{where}: meter.source model needs the power of that host, idle_w ({settings.idle_w:g}) and "
            f"busy_w ({settings.busy_w:g}), above it"
        )
    source = HostModel(settings.idle_w, settings.busy_w, settings.error or USUAL_ERROR)
    return Meter({"model": source}, most_w=settings.most_w, idle_w=settings.idle_w)
