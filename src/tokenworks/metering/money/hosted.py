"""What hosted models would have been billed with: prices of the library genai-prices, looked up without a network."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from tokenworks.core.errors import ConfigError, MissingExtraError
from tokenworks.metering.money.costs_file import Sheet
from tokenworks.metering.money.month import Month
from tokenworks.metering.money.sums import MICRO, Sums

EXTRA = "prices"
USD = "USD"


class HostedPrices:
    """The comparison column. `compare` says by model of ours which hosted one it stands beside: `openai:gpt-5-mini`.

    A line is priced as so many requests of its mean size, since prices of some models rise with a request's length:
    the mean is rounded to whole tokens, and that is the error of the figure. Surcharges for writing caches are not in.
    """

    def __init__(self, sheet: Sheet, month: Month, *, into: str) -> None:
        try:
            import genai_prices  # an extra: a megabyte of prices
        except ImportError:
            raise MissingExtraError("prices of hosted models", EXTRA) from None
        self._library: Any = genai_prices
        self._models: Mapping[str, str] = sheet.file.compare
        self._rate = sheet.rates.convert(Decimal(1), USD, into, month.last_day)
        for ours, theirs in self._models.items():
            self._price(theirs, 1, 0, 1, f"{sheet.where}: compare {ours!r}")

    def __call__(self, model: str, sums: Sums) -> int | None:
        """Return in millionths what the sums would have cost there; None where nothing is compared."""
        theirs = self._models.get(model) or self._models.get("*")
        if theirs is None:
            return None
        if not sums.requests:
            return 0
        mean = [
            round(Decimal(tokens) / sums.requests)
            for tokens in (sums.input_tokens, sums.cached_tokens, sums.output_tokens)
        ]
        each = self._price(theirs, mean[0], min(mean[0], mean[1]), mean[2], f"compare {model!r}")
        return int((each * sums.requests * self._rate * MICRO).to_integral_value(ROUND_HALF_EVEN))

    def _price(self, theirs: str, tokens: int, cached: int, said: int, where: str) -> Decimal:
        provider, _, name = theirs.rpartition(":")
        usage = self._library.Usage(input_tokens=tokens, cache_read_tokens=cached, output_tokens=said)
        try:
            found = self._library.calc_price(usage, model_ref=name, provider_id=provider or None)
        except LookupError as error:
            raise ConfigError(f"{where}: {theirs!r}: {error}; write provider:model as in openai:gpt-5-mini") from None
        total: Decimal = found.total_price
        return total
