"""Tariffs by the hour of the week: no gap, no overlap, and the hours of the place's own clock."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError
from tokenworks.metering.money.tariff import DAYS, Band, Tariff, Tariffs, week

SINCE = datetime.date(2026, 1, 1)
DAY_AND_NIGHT = (
    Band(per_kwh=0.30, days="mon-fri", hours="6-22"),
    Band(per_kwh=0.20, days="mon-fri", hours="22-6"),
    Band(per_kwh=0.10, days="sat,sun"),
)


def tariffs(*bands: Band, zone: str = "UTC") -> Tariffs:
    return Tariffs([Tariff(since=SINCE, bands=bands)], zone=zone, where="costs.toml")


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("moment", "price"),
    [
        ("2026-10-05T05:59:59+00:00", "0.2"),  # a Monday
        ("2026-10-05T06:00:00+00:00", "0.3"),
        ("2026-10-09T21:59:59+00:00", "0.3"),
        ("2026-10-09T22:00:00+00:00", "0.2"),
        ("2026-10-10T12:00:00+00:00", "0.1"),
    ],
)
def test_each_hour_has_the_price_of_its_band(moment, price):
    assert tariffs(*DAY_AND_NIGHT).at(at(moment)) == Decimal(price)


def test_hours_are_those_of_the_places_own_clock_in_summer_and_winter():
    berlin = tariffs(*DAY_AND_NIGHT, zone="Europe/Berlin")
    assert berlin.at(at("2026-07-06T04:30:00+00:00")) == Decimal("0.3")  # 06:30 in summer
    assert berlin.at(at("2026-12-07T04:30:00+00:00")) == Decimal("0.2")  # 05:30 in winter


def test_a_gap_is_named_with_its_first_hour():
    with pytest.raises(ConfigError, match=r"has a gap: 8 hours of the week have no price, the first is sat 00-01"):
        tariffs(*DAY_AND_NIGHT[:2], Band(per_kwh=0.1, days="sat", hours="8-24"), Band(per_kwh=0.1, days="sun"))


def test_an_hour_that_is_priced_twice_is_named():
    with pytest.raises(ConfigError, match=r"prices mon 06-07 twice"):
        tariffs(Band(per_kwh=0.1), DAY_AND_NIGHT[0])


@pytest.mark.parametrize(
    ("band", "said"),
    [
        (Band(per_kwh=0.1, hours="6-25"), "hours '6-25'"),
        (Band(per_kwh=0.1, hours="6-6"), "hours '6-6'"),
        (Band(per_kwh=0.1, hours="morning"), "hours 'morning'"),
        (Band(per_kwh=0.1, days="monday"), "days 'monday'"),
        (Band(per_kwh=float("nan")), "not a number"),
    ],
)
def test_a_band_that_cannot_be_meant_is_named(band, said):
    with pytest.raises(ConfigError, match=said):
        tariffs(band)


def test_a_time_before_the_first_tariff_is_an_error_and_a_newer_one_replaces_it():
    two = Tariffs(
        [
            Tariff(since=datetime.date(2026, 6, 1), bands=(Band(per_kwh=0.4),)),
            Tariff(since=SINCE, bands=(Band(per_kwh=0.3),)),
        ],
        zone="UTC",
        where="costs.toml",
    )
    assert two.at(at("2026-05-31T23:59:59+00:00")) == Decimal("0.3")
    assert two.at(at("2026-06-01T00:00:00+00:00")) == Decimal("0.4")
    with pytest.raises(ConfigError, match=r"no tariff is given for 2025-12-31 23:00"):
        two.at(at("2025-12-31T23:30:00+00:00"))
    with pytest.raises(ConfigError, match="two tariffs from 2026-01-01"):
        Tariffs([Tariff(since=SINCE, bands=(Band(per_kwh=1),))] * 2, zone="UTC", where="costs.toml")


def test_a_price_may_be_negative_where_the_market_pays_for_taking_power():
    assert tariffs(Band(per_kwh=-0.02)).at(at("2026-10-05T12:00:00+00:00")) == Decimal("-0.02")


@given(st.integers(0, 23), st.integers(1, 24), st.sampled_from(DAYS), st.sampled_from(DAYS))
def test_what_a_band_leaves_out_another_can_fill_and_nothing_else(first, last, begin, end):
    if first == last:
        return
    days = f"{begin}-{end}"
    inside = Band(per_kwh=1.0, days=days, hours=f"{first}-{last}")
    lone = week_or_gap((inside,))
    assert 0 < lone <= 168
    if lone < 168:
        with pytest.raises(ConfigError, match=f"{168 - lone} hours"):
            week(Tariff(since=SINCE, bands=(inside,)), "x")


def week_or_gap(bands: tuple[Band, ...]) -> int:
    """Return how many hours of the week bands price, counted by hand."""
    count = 0
    for day, _ in enumerate(DAYS):
        for hour in range(24):
            count += any(_covers(band, day, hour) for band in bands)
    return count


def _covers(band: Band, day: int, hour: int) -> bool:
    begin, end = (DAYS.index(one) for one in band.days.split("-"))
    first, last = (int(one) for one in band.hours.split("-"))
    in_days = begin <= day <= end if begin <= end else day >= begin or day <= end
    in_hours = first <= hour < last if first < last else hour >= first or hour < last
    return in_days and in_hours


@pytest.mark.parametrize(
    ("zone", "moment", "price"),
    [
        ("Asia/Kolkata", "2026-10-05T00:29:59+00:00", "0.2"),  # 05:59:59 there
        ("Asia/Kolkata", "2026-10-05T00:30:00+00:00", "0.3"),
        ("Asia/Kathmandu", "2026-10-05T00:14:59+00:00", "0.2"),  # three quarters of an hour
        ("Asia/Kathmandu", "2026-10-05T00:15:00+00:00", "0.3"),
        ("Australia/Lord_Howe", "2026-10-05T18:59:59+00:00", "0.2"),  # half an hour of summer time: 05:59:59
        ("Australia/Lord_Howe", "2026-10-05T19:00:00+00:00", "0.3"),
    ],
)
def test_clocks_that_are_off_by_parts_of_an_hour_have_their_own_hours(zone, moment, price):
    assert tariffs(*DAY_AND_NIGHT, zone=zone).at(at(moment)) == Decimal(price)


def test_the_days_on_which_clocks_change_have_a_price_for_each_of_their_hours():
    """23 hours in spring and 25 in autumn: none is left out, and the one that comes twice is priced twice."""
    hourly = [Band(per_kwh=hour / 100, hours=f"{hour}-{hour + 1}") for hour in range(24)]
    berlin = tariffs(*hourly, zone="Europe/Berlin")

    def day(begin: str, hours: int) -> list[int]:
        return [int(berlin.at(at(begin) + 3600 * hour) * 100) for hour in range(hours)]

    assert day("2026-03-29T00:00:00+01:00", 23) == [0, 1, *range(3, 24)]
    assert day("2026-10-25T00:00:00+02:00", 25) == [0, 1, 2, 2, *range(3, 24)]
    assert day("2028-02-29T00:00:00+01:00", 24) == [*range(24)]
