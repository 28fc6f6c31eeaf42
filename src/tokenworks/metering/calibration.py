"""What this machine draws, idle and with every core at work: measured once with a meter, kept in the home."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.files import write_atomic

FILE = "calibration.json"
SETTLE_S = 2.0  # for fans and clocks to follow a load, half before and half after


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The two ends of the line `P = idle + (busy - idle) * utilisation`, and how far from it the middle was."""

    idle_w: float = 0.0
    busy_w: float = 0.0
    error: float = 0.0  # standard uncertainty of the line, as a share
    meter: str = ""  # what it was measured with
    at: float = 0.0


def read_calibration(folder: Path) -> Calibration:
    """Return what was measured; all zero where nothing was. Raises `ConfigError` for a file that cannot be meant."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Calibration)
    except FileNotFoundError:
        return Calibration()
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{folder / FILE}: {error}; remove it, and: tokenworks meter calibrate") from None


def write_calibration(folder: Path, found: Calibration) -> None:
    """Keep it."""
    write_atomic(folder / FILE, msgspec.json.encode(found))


Watts = Callable[[float], float]  # (seconds) -> mean watts over them
Load = Callable[[float, float], None]  # (share of the cores, seconds): keep so many of them busy, from now on


def calibrate(
    watts: Watts, load: Load, *, meter: str, error: float, seconds: float, settle_s: float = SETTLE_S
) -> Calibration:
    """Measure idle, half and full load for `seconds` each, and return the line through the ends.

    Its uncertainty is the meter's and, in quadrature, how far the half lies from the line. Raises `ConfigError` where
    work makes no difference to the meter: then it does not stand before this machine, or others worked meanwhile.
    """
    found = []
    for share in (0.0, 0.5, 1.0):
        load(share, seconds + settle_s)
        time.sleep(settle_s / 2)
        found.append(watts(seconds))
        time.sleep(settle_s / 2)
    idle_w, half_w, busy_w = found
    if not 0 < idle_w < half_w < busy_w:
        raise ConfigError(
            f"the meter says {idle_w:.1f} W idle, {half_w:.1f} W at half and {busy_w:.1f} W at full load, which do not "
            "rise: it does not meter this machine, or the machine was busy; end what runs, and try longer --seconds"
        )
    bend = abs(half_w - (idle_w + busy_w) / 2) / half_w
    return Calibration(idle_w=idle_w, busy_w=busy_w, error=(error**2 + bend**2) ** 0.5, meter=meter, at=time.time())
