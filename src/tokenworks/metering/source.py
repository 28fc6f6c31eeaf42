"""What a source of power figures is: raw samples of counters or of power, without any sums."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from tokenworks.core.errors import ConfigError, TokenworksError
from tokenworks.core.usage import COARSE

GRADES = ("wall", "nvml", "rapl", "sampled", "model", "none")  # from good to bad, economics of metering section 1.2
JOULES = {"mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": 3600.0, "kWh": 3.6e6}
WATTS = {"mW": 1e-3, "W": 1.0, "kW": 1e3}


class MeterError(TokenworksError):
    """A meter cannot be read now, or says what no meter can mean."""


class Sample(NamedTuple):
    """What one counter, or one power sensor, says at a moment."""

    zone: str  # which of the meter's counters
    value: float  # joules counted since whenever, or watts now
    power: bool = False  # whether `value` is watts: a sample, no counter
    range_j: float = 0.0  # a counter that reaches it begins anew at 0; 0: never


class Source(Protocol):
    """A meter of this machine, or of a part of it."""

    grade: str  # wall | nvml | rapl | sampled | model
    error: float  # standard uncertainty of what it says, as a share
    by_processor: bool  # whether processor time tells whose its energy was; else the time of engine steps

    def read(self) -> list[Sample]:
        """Return what it says now; raise `MeterError` where it cannot be asked."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def coarse(grade: str) -> str:
    """Return the grade of what requests took of a server that says nothing of its steps."""
    return f"{COARSE}{grade}"


def sample_of(zone: str, figure: object, unit: str) -> Sample:
    """Return the sample that a JSON figure stands for; raise `MeterError` for what is no number."""
    if isinstance(figure, bool) or not isinstance(figure, int | float | str):
        raise MeterError(f"{zone} says {figure!r}, which is no number")
    try:
        value = float(figure)
    except ValueError:
        raise MeterError(f"{zone} says {figure!r}, which is no number") from None
    check_unit(unit)
    return Sample(zone, value * (JOULES.get(unit) or WATTS[unit]), power=unit in WATTS)


def check_unit(unit: str) -> Literal["counter", "sample"]:
    """Return whether `unit` is one of counted energy or of sampled power; raise `ConfigError` for any other."""
    if unit in JOULES:
        return "counter"
    if unit in WATTS:
        return "sample"
    raise ConfigError(f"meter.unit {unit!r} is none of {', '.join((*JOULES, *WATTS))}")
