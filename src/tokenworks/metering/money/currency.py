"""Currencies and what one is worth in another: dated rates, given by whoever runs the house. None is built in."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from tokenworks.core.errors import ConfigError

# ISO 4217, list one, less funds, metals and test codes.
_LISTED = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC
CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR
ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE
SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XOF XPF
YER ZAR ZMW ZWG
"""
CODES = frozenset(_LISTED.split())
# ISO 4217, list one: how many decimals the smallest amount has that can be paid; all others have two.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_MINOR_DIGITS = dict.fromkeys(_WHOLE.split(), 0) | dict.fromkeys(_THREE.split(), 3)


class Rate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one unit of `currency` is worth in the house's own, from `since` on."""

    currency: str
    since: datetime.date
    rate: float


def minor_digits(code: str) -> int:
    """Return how many decimals amounts that are paid in `code` have: 2 of EUR, 0 of JPY, 3 of KWD; 2 of none known."""
    return _MINOR_DIGITS.get(code, 2)


def check_currency(code: str, where: str) -> None:
    """Raise `ConfigError` unless `code` is a currency of ISO 4217."""
    if code not in CODES:
        near = difflib.get_close_matches(code.upper(), sorted(CODES), n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else "write three letters as ISO 4217 does: EUR, USD, JPY"
        raise ConfigError(f"{where}: {code!r} is no currency; {hint}")


class Rates:
    """What money of one currency is worth in another on a day: the newest rate that is not later than that day."""

    def __init__(self, own: str, rates: Sequence[Rate] = (), *, where: str = "rates") -> None:
        check_currency(own, f"{where}: currency")
        self.own, self._where = own, where
        self._known: dict[str, list[tuple[datetime.date, Decimal]]] = {}
        for one in rates:
            check_currency(one.currency, f"{where}: rates")
            value = Decimal(str(one.rate))
            if not value.is_finite() or value <= 0:
                raise ConfigError(f"{where}: the rate of {one.currency} from {one.since} on is {one.rate}, not above 0")
            self._known.setdefault(one.currency, []).append((one.since, value))
        for currency, known in self._known.items():
            known.sort()
            days = [day for day, _ in known]
            if twice := next((day for day in days if days.count(day) > 1), None):
                raise ConfigError(f"{where}: there are two rates of {currency} from {twice} on; keep one")

    def of(self, currency: str, day: datetime.date) -> Decimal:
        """Return what one unit of `currency` is worth in the house's own; raise `ConfigError` where nobody said."""
        if currency == self.own:
            return Decimal(1)
        check_currency(currency, self._where)
        value = next((value for since, value in reversed(self._known.get(currency, [])) if since <= day), None)
        if value is None:
            raise ConfigError(
                f"{self._where}: nobody says what {currency} is worth in {self.own} on {day}; add [[rates]] with "
                f'currency = "{currency}", since and rate'
            )
        return value

    def convert(self, amount: Decimal, currency: str, into: str, day: datetime.date) -> Decimal:
        """Return `amount` of `currency` in another, by the rates of a day."""
        return amount if currency == into else amount * self.of(currency, day) / self.of(into, day)
