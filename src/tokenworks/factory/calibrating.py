"""What `tokenworks meter` does: look at every kind of meter of this machine, and calibrate it."""

from __future__ import annotations

import subprocess
import sys
import time

import msgspec

from tokenworks import parts
from tokenworks.core.errors import ConfigError, TokenworksError
from tokenworks.factory.metering import meter_folder
from tokenworks.metering.calibration import Calibration, calibrate, read_calibration, write_calibration
from tokenworks.metering.opening import NONE, ROOM, Meter, Metered, open_meter
from tokenworks.metering.power.model import USUAL_ERROR
from tokenworks.metering.processor import cores
from tokenworks.settings import Settings

PATIENCE_S = 1.0  # for the meter to move: the load goes on no longer than that
SPIN = "import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of meter."""

    source: str
    configured: bool
    says: str


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The meters of this machine, and what the configured one says."""

    sources: list[Seen]
    calibration: Calibration
    grade: str = NONE
    watts: float | None = None
    error: float = 0.0
    seconds: float = 0.0
    trouble: str = ""


def look(settings: Settings, seconds: float) -> Look:
    """Try every kind of meter, and read the configured one for `seconds`."""
    folder = meter_folder(settings.home_path)
    wanted = settings.meter.source.split("+")
    sources = [_seen(settings, name, name in wanted) for name in parts.names(ROOM)]
    calibration = read_calibration(folder)
    try:
        meter = open_meter(settings.meter, folder)
    except ConfigError as error:
        return Look(sources=sources, calibration=calibration, trouble=str(error))
    if meter is None:
        return Look(sources=sources, calibration=calibration, trouble='[meter] source = "none"')
    try:
        watts, over_s = _watts(meter, seconds)
    except TokenworksError as error:
        return Look(sources=sources, calibration=calibration, grade=meter.grade, trouble=str(error))
    finally:
        meter.close()
    return Look(
        sources=sources, calibration=calibration, grade=meter.grade, watts=watts, error=meter.error, seconds=over_s
    )


def _seen(settings: Settings, name: str, configured: bool) -> Seen:
    """Return what is to be said of one kind of meter."""
    try:
        source = parts.load(ROOM, name).open_source(settings.meter, read_calibration(meter_folder(settings.home_path)))
        samples = source.read()
        source.close()
    except TokenworksError as error:
        return Seen(source=name, configured=configured, says=f"no: {error}")
    what = ", ".join(one.zone for one in samples)
    return Seen(source=name, configured=configured, says=f"yes: {what}; grade {source.grade}, +- {source.error:.0%}")


def calibrate_machine(settings: Settings, seconds: float) -> Calibration:
    """Measure with the configured meter, and keep what was found. Raises `ConfigError` where it cannot be."""
    if settings.meter.source in (NONE, "model"):
        raise ConfigError(
            f"meter.source is {settings.meter.source!r}, which measures nothing; configure rapl, wall or prometheus, "
            "or read a plug yourself and give --idle-w and --busy-w"
        )
    folder = meter_folder(settings.home_path)
    meter = open_meter(settings.meter, folder)
    assert meter is not None, "a source is configured"
    load = _Load()
    try:
        found = calibrate(
            lambda over_s: _watts(meter, over_s)[0], load, meter=settings.meter.source, error=meter.error,
            seconds=seconds,
        )  # fmt: skip
    finally:
        load.end()
        meter.close()
    write_calibration(folder, found)
    return found


def note_calibration(settings: Settings, idle_w: float, busy_w: float) -> Calibration:
    """Keep what somebody read off a meter. Raises `ConfigError` where it cannot be."""
    if not 0 < idle_w < busy_w < float("inf"):
        raise ConfigError(f"--idle-w {idle_w:g} and --busy-w {busy_w:g}: give both, and the second above the first")
    found = Calibration(idle_w=idle_w, busy_w=busy_w, error=USUAL_ERROR, meter="hand", at=time.time())
    write_calibration(meter_folder(settings.home_path), found)
    return found


def _watts(meter: Meter, seconds: float) -> tuple[float, float]:
    """Return the mean power over about `seconds`, and over how many: from one move of the meter to another.

    Raises `ConfigError` where it moves too seldom for that, or cannot be read.
    """
    _move(meter)
    time.sleep(seconds)
    found = _move(meter)
    if found is None or found.span.joules is None:
        raise ConfigError(f"the meter gives no figure: {found.span.because if found else 'it has just begun'}")
    return found.span.joules / found.span.seconds, found.span.seconds


def _move(meter: Meter) -> Metered | None:
    """Return what was metered until the meter moves; raise `ConfigError` where that takes too long."""
    before_s, late_s = meter.known_until_s, time.monotonic() + PATIENCE_S
    while True:
        found = meter.read()
        if meter.trouble:
            raise ConfigError(f"the meter cannot be read: {meter.trouble}")
        if meter.known_until_s != before_s:
            return found
        if time.monotonic() > late_s:
            raise ConfigError(f"the meter has not moved for {PATIENCE_S:g} s: too seldom for this; read it by hand")
        time.sleep(0.05)


class _Load:
    """Cores that are kept busy, by processes that end by themselves."""

    def __init__(self) -> None:
        self._spinning: list[subprocess.Popen[bytes]] = []

    def __call__(self, share: float, seconds: float) -> None:
        """Keep so many cores busy from now on."""
        command = [sys.executable, "-c", SPIN.format(seconds=seconds)]
        self._spinning += [subprocess.Popen(command) for _ in range(round(share * cores()))]

    def end(self) -> None:
        """Stop what still runs."""
        for process in self._spinning:
            process.kill()
            process.wait()
