"""NVIDIA boards by NVML: the energy counter of each (mJ since its driver was loaded, Volta and later)."""

from __future__ import annotations

from typing import Any

from tokenworks.core.errors import ConfigError, MissingExtraError
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.source import MeterError, Sample
from tokenworks.settings import MeterSettings

USUAL_ERROR = (
    0.05  # of the board's power: NVML API reference; the counter does not miss what sampling does (2312.02741)
)


def open_source(settings: MeterSettings, calibration: Calibration) -> Nvml:
    """Return all boards of this machine; raise `ConfigError` where there are none, or they do not count energy."""
    try:
        import pynvml  # optional: only machines with NVIDIA boards have use for it
    except ImportError:
        raise MissingExtraError("the meter 'nvml'", "nvml") from None
    try:
        pynvml.nvmlInit()
        boards = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(pynvml.nvmlDeviceGetCount())]
        nvml = Nvml(pynvml, boards, settings.error or USUAL_ERROR)
        nvml.read()
    except (pynvml.NVMLError, MeterError) as error:
        raise ConfigError(f"meter.source nvml: {error}; use another, such as wall, rapl or model") from None
    if not boards:
        raise ConfigError("meter.source nvml: this machine has no NVIDIA board; use another, such as rapl or model")
    return nvml


class Nvml:
    """The counters of some boards."""

    grade = "nvml"
    by_processor = False  # a board works for whoever has steps under way, not for whoever keeps processors busy

    def __init__(self, library: Any, boards: list[Any], error: float) -> None:
        self.error = error
        self._library, self._boards = library, boards

    def read(self) -> list[Sample]:
        """Return joules by board."""
        try:
            counted = [self._library.nvmlDeviceGetTotalEnergyConsumption(board) for board in self._boards]
        except self._library.NVMLError as error:
            raise MeterError(f"NVML: {error}") from None
        return [Sample(f"gpu{at}", millijoules / 1e3) for at, millijoules in enumerate(counted)]

    def close(self) -> None:
        """Let go of the library."""
        try:
            self._library.nvmlShutdown()
        except self._library.NVMLError as error:
            raise MeterError(f"NVML: {error}") from None
