"""What a kilowatt hour costs at which hour of the week: bands that leave no hour out and none twice."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from tokenworks.core.errors import ConfigError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOURS = 24
_HOURS = re.compile(r"(\d{1,2})-(\d{1,2})")


class Band(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One price for some hours of some days. `22-6` goes over midnight, into the early hours of the same days."""

    per_kwh: float
    days: str = "mon-sun"  # mon-fri, or sat,sun
    hours: str = "0-24"  # from the one until the other begins


class Tariff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prices from a day on."""

    since: datetime.date
    bands: tuple[Band, ...]


class Tariffs:
    """Dated tariffs of one place, in the hours of its own clock."""

    def __init__(self, tariffs: Sequence[Tariff], *, zone: str, where: str) -> None:
        self._where = where
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ConfigError(f"{where}: zone {zone!r} is no time zone; write one like Europe/Berlin or UTC") from None
        self._known = sorted(((one.since, week(one, where)) for one in tariffs), key=lambda pair: pair[0])
        days = [day for day, _ in self._known]
        if twice := next((day for day in days if days.count(day) > 1), None):
            raise ConfigError(f"{where}: there are two tariffs from {twice} on; keep one")

    def __bool__(self) -> bool:
        return bool(self._known)

    def at(self, at: float) -> Decimal:
        """Return the price of a kilowatt hour at a Unix time; raise `ConfigError` before the first tariff."""
        local = datetime.datetime.fromtimestamp(at, self._zone)
        for since, prices in reversed(self._known):
            if since <= local.date():
                return prices[local.weekday() * HOURS + local.hour]
        raise ConfigError(
            f"{self._where}: no tariff is given for {local:%Y-%m-%d %H:00}; add [[tariffs]] with an earlier `since`"
        )


def week(tariff: Tariff, where: str) -> list[Decimal]:
    """Return the price at each of the 168 hours of a week; raise `ConfigError` naming the first gap or overlap."""
    prices: list[Decimal | None] = [None] * (len(DAYS) * HOURS)
    for band in tariff.bands:
        price = Decimal(str(band.per_kwh))
        if not price.is_finite():
            raise ConfigError(f"{where}: per_kwh {band.per_kwh} of {band.days} {band.hours} is not a number")
        for hour in _hours(band, where):
            if prices[hour] is not None:
                raise ConfigError(f"{where}: the tariff from {tariff.since} on prices {_name(hour)} twice")
            prices[hour] = price
    missing = [hour for hour, price in enumerate(prices) if price is None]
    if missing:
        raise ConfigError(
            f"{where}: the tariff from {tariff.since} on has a gap: {len(missing)} hours of the week have no price, "
            f"the first is {_name(missing[0])}; add a band for them"
        )
    return [price for price in prices if price is not None]


def _name(hour: int) -> str:
    return f"{DAYS[hour // HOURS]} {hour % HOURS:02}-{hour % HOURS + 1:02}"


def _hours(band: Band, where: str) -> Iterator[int]:
    found = _HOURS.fullmatch(band.hours.strip())
    first, last = (int(found[1]), int(found[2])) if found else (-1, -1)
    if not (0 <= first < HOURS and 0 < last <= HOURS) or first == last:
        raise ConfigError(f"{where}: hours {band.hours!r} of a band; write two hours of a day like 6-22 or 22-6")
    hours = range(first, last) if first < last else [*range(last), *range(first, HOURS)]
    for day in _days(band.days, where):
        yield from (day * HOURS + hour for hour in hours)


def _days(text: str, where: str) -> list[int]:
    found: list[int] = []
    for part in text.lower().split(","):
        first, _, last = part.strip().partition("-")
        if first not in DAYS or (last and last not in DAYS):
            raise ConfigError(f"{where}: days {text!r} of a band; write {', '.join(DAYS)}, with - or commas between")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found += [day % len(DAYS) for day in range(begin, end + 1 if end >= begin else end + 1 + len(DAYS))]
    return found
