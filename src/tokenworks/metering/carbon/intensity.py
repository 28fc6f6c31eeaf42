"""How many grams of CO2 equivalent a kilowatt hour stands for: a dated table by zone, or a signal of one's own."""

from __future__ import annotations

import bisect
import csv
import datetime
import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import read_toml

TABLE = Path(__file__).with_name("intensity.toml")
MOST_G = 5000.0  # a kilowatt hour from lignite is about 1,200
LAST_S = 3600.0  # how long a signal's last value holds


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Averages by zone."""

    as_of: datetime.date
    source: str
    zones: dict[str, float]


class Average(NamedTuple):
    """The average of one zone, with where it is from."""

    zone: str
    g_per_kwh: float
    as_of: datetime.date
    source: str


def average(zone: str, table: Path = TABLE) -> Average:
    """Return the average intensity of `zone`; raise `ConfigError` for one that the table does not have."""
    known = read_toml(table, Table)
    if zone not in known.zones:
        near = difflib.get_close_matches(zone, known.zones, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known.zones))}"
        raise ConfigError(f"{table}: there is no zone {zone!r}; {hint} Or add a line of your own.")
    value = known.zones[zone]
    _check(value, f"{table}: zone {zone!r}")
    return Average(zone, value, known.as_of, known.source)


class Signal:
    """Values with the times from which they hold, each until the next; the last for an hour. Elsewhere: unknown."""

    def __init__(self, rows: Sequence[tuple[float, float]], *, most_s: float = 2 * LAST_S) -> None:
        self._times = [at for at, _ in rows]
        self._values = [value for _, value in rows]
        self._most_s = most_s

    def at(self, at: float) -> float | None:
        """Return the grams a kilowatt hour at a Unix time; None where the signal has a gap or ends."""
        place = bisect.bisect_right(self._times, at) - 1
        if place < 0:
            return None
        last = place == len(self._times) - 1
        until = self._times[place] + LAST_S if last else self._times[place + 1]
        until = min(until, self._times[place] + self._most_s)
        return self._values[place] if at < until else None


def read_signal(path: Path) -> Signal:
    """Return the signal of the CSV file `time,g_per_kwh` at `path`.

    A time is ISO 8601, in UTC where it says no zone, or Unix. Raises `ConfigError` naming the line of a time that runs
    backwards or a value that cannot be meant.
    """
    rows: list[tuple[float, float]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                where = f"{path}: line {number}"
                rows.append((_time(row.get("time"), where), _value(row.get("g_per_kwh"), where)))
                if len(rows) > 1 and rows[-1][0] <= rows[-2][0]:
                    raise ConfigError(f"{where}: its time is not after that of the line before; sort the file by time")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such signal; [carbon] signal names it") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    if not rows:
        raise ConfigError(f"{path}: it has no rows; write a head time,g_per_kwh and a line for each hour")
    return Signal(rows)


def _time(text: str | None, where: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        pass
    try:
        moment = datetime.datetime.fromisoformat((text or "").strip())
    except ValueError:
        raise ConfigError(f"{where}: time {text!r}; write 2026-11-21T06:00Z or a Unix time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _value(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        raise ConfigError(f"{where}: g_per_kwh {text!r} is not a number") from None
    _check(value, where)
    return value


def _check(value: float, where: str) -> None:
    if not (math.isfinite(value) and 0 <= value <= MOST_G):
        raise ConfigError(f"{where}: {value} g a kilowatt hour; give 0 to {MOST_G:g}")
