"""No meter, but a machine that was calibrated: `P = idle + (busy - idle) * utilisation`.

Linear in the utilisation of the processors: Fan, Weber and Barroso, Power Provisioning for a Warehouse-sized Computer,
ISCA 2007. As the system counts processor time, this is a counter too: nothing between two readings is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tokenworks.core.errors import ConfigError
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.processor import busy_core_s, cores
from tokenworks.metering.source import Sample
from tokenworks.settings import MeterSettings

USUAL_ERROR = 0.3  # of a machine whose two powers somebody has written down; a calibration with a meter says its own


def open_source(settings: MeterSettings, calibration: Calibration) -> Model:
    """Return the model of this machine; raise `ConfigError` where it was not calibrated."""
    idle_w, busy_w = settings.idle_w or calibration.idle_w, settings.busy_w or calibration.busy_w
    if not 0 < idle_w < busy_w:
        raise ConfigError(
            f"meter.source model needs the power of this machine, idle ({idle_w:g} W) and with every core at work "
            f"({busy_w:g} W); set meter.idle_w and meter.busy_w as read off a plug, or: tokenworks meter calibrate"
        )
    told = settings.idle_w and settings.busy_w
    error = settings.error or (USUAL_ERROR if told else calibration.error or USUAL_ERROR)
    return Model(idle_w, busy_w, error)


class Model:
    """A counter that is worked out."""

    grade = "model"
    by_processor = True

    def __init__(
        self,
        idle_w: float,
        busy_w: float,
        error: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = busy_core_s,
    ) -> None:
        self.error = error
        self._idle_w, self._core_w = idle_w, (busy_w - idle_w) / cores()
        self._clock, self._busy = clock, busy
        self._began_s = clock()

    def read(self) -> list[Sample]:
        """Return the joules since it was opened, and since the system was started."""
        idle_j = self._idle_w * (self._clock() - self._began_s)
        return [Sample("idle", idle_j), Sample("processors", self._core_w * self._busy())]

    def close(self) -> None:
        """Nothing is held."""
