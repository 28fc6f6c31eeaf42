"""The meter that the settings name: one source, or several that meter different parts and are added up."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenworks import parts
from tokenworks.core.errors import ConfigError
from tokenworks.metering.calibration import Calibration, read_calibration
from tokenworks.metering.integral import Integral, Span, check
from tokenworks.metering.source import GRADES, MeterError, Source
from tokenworks.settings import MeterSettings

ROOM = "tokenworks.metering.power"
NONE = "none"
STILL_S = 120.0  # a counter may take so long for its next tick; after that it is broken


@dataclass(frozen=True)
class Part:
    """The energy that one source metered."""

    joules: float
    error: float  # standard uncertainty, as a share
    by_processor: bool


@dataclass(frozen=True)
class Metered:
    """What all sources metered in a span."""

    span: Span
    parts: tuple[Part, ...]  # empty in a gap

    @property
    def error(self) -> float:
        """Standard uncertainty of the sum, as a share: sources err independently of each other."""
        total = sum(part.joules for part in self.parts)
        return float(sum((part.joules * part.error) ** 2 for part in self.parts) ** 0.5 / total) if total else 0.0


class Meter:
    """Sources that are read together. `grade` is that of the worst."""

    def __init__(self, sources: Mapping[str, Source], *, most_w: float, idle_w: float = 0.0) -> None:
        self.sources = sources
        self.grade = max((source.grade for source in sources.values()), key=GRADES.index)
        self.error = math.hypot(*(source.error for source in sources.values())) / len(sources)
        self.idle_w = idle_w  # of the machine with nothing to do; 0: not known
        self.trouble = ""  # why the last reading gave nothing
        self._integrals = {name: Integral(most_w=most_w) for name in sources}
        self._from_s = 0.0  # until when everything is known

    @property
    def known_until_s(self) -> float:
        """Until when, on the monotonic clock, everything was read; 0: nothing was."""
        return self._from_s

    def read(self) -> Metered | None:
        """Return what was metered since the last reading; None at the first, and where there is nothing new.

        `trouble` says why a reading could not be made: none of the sources goes on then, so that the next one that
        can be made stands for all of the time, and a counter has lost nothing.
        """
        self.trouble = ""
        try:
            taken = {name: (source.read(), time.monotonic()) for name, source in self.sources.items()}
            for samples, _ in taken.values():
                check(samples)
        except MeterError as error:
            self.trouble = str(error)
            return None
        at_s = max(at_s for _, at_s in taken.values())
        still = any(self._integrals[name].stands_still(samples) for name, (samples, _) in taken.items())
        if still and at_s - self._from_s < STILL_S:
            return None
        spans = {name: self._integrals[name].take(at, samples) for name, (samples, at) in taken.items()}
        began_s, self._from_s = self._from_s, at_s
        if any(span is None for span in spans.values()):
            return None
        because = "the meter stands still" if still else ""
        parts = []
        for name, span in spans.items():
            if span is None or span.joules is None:
                because = because or f"{name}: {span.because if span else ''}"
            else:
                parts.append(Part(span.joules, self.sources[name].error, self.sources[name].by_processor))
        if because:
            return Metered(Span(began_s, at_s, None, because), ())
        return Metered(Span(began_s, at_s, sum(part.joules for part in parts)), tuple(parts))

    def close(self) -> None:
        """Let go of all sources."""
        for source in self.sources.values():
            source.close()


def open_meter(settings: MeterSettings, folder: Path) -> Meter | None:
    """Return the meter that `settings` name, None for none. `folder` has the calibration. Raises `ConfigError`."""
    wanted = [name.strip() for name in settings.source.split("+")]
    if wanted == [NONE]:
        return None
    if NONE in wanted or "" in wanted or len(set(wanted)) < len(wanted):
        raise ConfigError(f"meter.source {settings.source!r}: name each source once, with + between, or none alone")
    if not settings.interval_s > 0 or not settings.entry_s >= settings.interval_s:
        raise ConfigError("meter.interval_s must be above 0 and meter.entry_s no less than it")
    calibration = read_calibration(folder)
    sources = {name: _open(name, settings, calibration) for name in wanted}
    same = calibration.meter == settings.source or settings.source == "model"  # others see other parts of the machine
    idle_w = settings.idle_w or (calibration.idle_w if same else 0.0)
    return Meter(sources, most_w=settings.most_w, idle_w=idle_w)


def _open(name: str, settings: MeterSettings, calibration: Calibration) -> Source:
    source: Source = parts.load(ROOM, name).open_source(settings, calibration)
    return source
