"""Rates of a day: the newest that is not later, both ways, and an error where nobody gave one."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.metering.money.currency import CODES, Rate, Rates

JULY, OCTOBER = datetime.date(2026, 7, 1), datetime.date(2026, 10, 1)


def test_the_newest_rate_that_is_not_later_counts():
    rates = Rates("EUR", [Rate(currency="USD", since=OCTOBER, rate=0.9), Rate(currency="USD", since=JULY, rate=0.8)])
    assert rates.of("USD", datetime.date(2026, 9, 30)) == Decimal("0.8")
    assert rates.of("USD", OCTOBER) == Decimal("0.9")
    assert rates.convert(Decimal(9), "USD", "EUR", OCTOBER) == Decimal("8.1")
    assert rates.convert(Decimal(9), "EUR", "USD", OCTOBER) == Decimal(10)
    assert rates.convert(Decimal(9), "JPY", "JPY", JULY) == 9


def test_a_day_before_the_first_rate_is_an_error_that_says_what_to_add():
    rates = Rates("EUR", [Rate(currency="USD", since=JULY, rate=0.8)])
    with pytest.raises(ConfigError, match=r"what USD is worth in EUR on 2026-06-30; add \[\[rates\]\]"):
        rates.of("USD", datetime.date(2026, 6, 30))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_not_above_nothing_is_refused(rate):
    with pytest.raises(ConfigError, match="not above 0"):
        Rates("EUR", [Rate(currency="USD", since=JULY, rate=rate)])


def test_unknown_currencies_and_two_rates_of_one_day_are_refused():
    with pytest.raises(ConfigError, match="'USDT' is no currency; did you mean USD"):
        Rates("EUR", [Rate(currency="USDT", since=JULY, rate=1.0)])
    with pytest.raises(ConfigError, match="two rates of USD"):
        Rates("EUR", [Rate(currency="USD", since=JULY, rate=1.0)] * 2)
    assert {"EUR", "USD", "JPY", "CHF"} <= CODES
    assert all(len(code) == 3 and code.isupper() for code in CODES)
