"""What tokens cost: in whole numbers, so that a sum of prices is the price of the sum wherever it is made."""

from __future__ import annotations

import msgspec

from tokenworks.ledger.entries import RequestEntry

NANO_PER_MICRO = 1000


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a token costs, in billionths of the currency's unit."""

    input_nano: int = 0
    cached_nano: int = 0  # of the prompt, where the engine had it already
    output_nano: int = 0

    def micro(self, *, prompt: int, cached: int, completion: int) -> int:
        """Return the price of so many tokens in millionths of the unit, rounded up; `cached` are among `prompt`."""
        cached = min(cached, prompt)
        nano = (prompt - cached) * self.input_nano + cached * self.cached_nano + completion * self.output_nano
        return -(-nano // NANO_PER_MICRO)

    def of(self, entry: RequestEntry) -> RequestEntry:
        """Return `entry` with what its tokens cost."""
        used = {"prompt": entry.prompt_tokens, "cached": entry.cached_tokens, "completion": entry.completion_tokens}
        return msgspec.structs.replace(entry, price_micro=self.micro(**used))

    def most_micro(self, *, prompt: int, completion: int) -> int:
        """Return the most that so many tokens can cost."""
        dearer = max(self.input_nano, self.cached_nano)
        return -(-(prompt * dearer + completion * self.output_nano) // NANO_PER_MICRO)

    def times(self, share: float) -> Price:
        """Return `share` of the price."""
        return Price(
            input_nano=round(self.input_nano * share),
            cached_nano=round(self.cached_nano * share),
            output_nano=round(self.output_nano * share),
        )


class Prices:
    """Prices by model; under `*` that of every other. `batch_share` of them is asked for batches."""

    def __init__(self, models: dict[str, Price] | None = None, *, currency: str = "", batch_share: float = 1.0) -> None:
        self.currency = currency
        self._models = models or {}
        self._batch = {name: price.times(batch_share) for name, price in self._models.items()}

    def of(self, model: str, face: str = "") -> Price | None:
        """Return the price of a model's tokens, None where it has none."""
        models = self._batch if face == "batch" else self._models
        return models.get(model) or models.get("*") if models else None


def per_million(price: float) -> int:
    """Return a price per million tokens in billionths per token."""
    return round(price * 1000)
