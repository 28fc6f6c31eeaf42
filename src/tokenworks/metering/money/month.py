"""A calendar month in UTC: when it begins and ends."""

from __future__ import annotations

import datetime
import re
from typing import NamedTuple

from tokenworks.core.errors import ConfigError


class Month(NamedTuple):
    """Unix times; `end` is the first second of the next."""

    name: str  # 2026-10
    begin: float
    end: float

    @property
    def last_day(self) -> datetime.date:
        """The day whose rates its figures are converted at."""
        return datetime.datetime.fromtimestamp(self.end - 1, datetime.UTC).date()


def month_of(text: str) -> Month:
    """Return the month `2026-10`; raise `ConfigError` for anything else."""
    found = re.fullmatch(r"(\d{4})-(\d{2})", text.strip())
    if found is None or not 1 <= int(found[2]) <= 12 or int(found[1]) < 1970:
        raise ConfigError(f"--month {text!r}: write a month such as 2026-10")
    year, month = int(found[1]), int(found[2])
    begin = datetime.datetime(year, month, 1, tzinfo=datetime.UTC)
    end = datetime.datetime(year + month // 12, month % 12 + 1, 1, tzinfo=datetime.UTC)
    return Month(text.strip(), begin.timestamp(), end.timestamp())


def month_at(at: float) -> Month:
    """Return the month in which a Unix time lies."""
    return month_of(datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m"))
