"""What tokens cost: in whole numbers, so that a sum of prices is the price of the sum wherever it is made."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tokenworks.ledger.entries import RequestEntry

NANO_PER_MICRO = 1000


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a token costs, in billionths of the currency's unit."""

    input_nano: int = 0
    cached_nano: int = 0  # of the prompt, where the engine had it already
    output_nano: int = 0
    thinking_nano: int | None = None  # of the answer, what was thought and not said; None: as output

    def micro(self, *, prompt: int, cached: int, completion: int, thinking: int = 0) -> int:
        """Return the price of so many tokens in millionths of the unit, rounded up.

        `cached` are among `prompt`, `thinking` among `completion`.
        """
        cached = min(cached, prompt)
        nano = (prompt - cached) * self.input_nano + cached * self.cached_nano + completion * self.output_nano
        if self.thinking_nano is not None:
            nano += min(thinking, completion) * (self.thinking_nano - self.output_nano)
        return -(-nano // NANO_PER_MICRO)

    def of(self, entry: RequestEntry) -> RequestEntry:
        """Return `entry` with what its tokens cost."""
        used = {"prompt": entry.prompt_tokens, "cached": entry.cached_tokens, "completion": entry.completion_tokens}
        return msgspec.structs.replace(entry, price_micro=self.micro(**used))

    @property
    def most_input_nano(self) -> int:
        """The most that a token of a prompt can cost."""
        return max(self.input_nano, self.cached_nano)

    @property
    def most_output_nano(self) -> int:
        """The most that a token of an answer can cost."""
        return max(self.output_nano, self.thinking_nano or 0)

    def most_micro(self, *, prompt: int, completion: int) -> int:
        """Return the most that so many tokens can cost."""
        return -(-(prompt * self.most_input_nano + completion * self.most_output_nano) // NANO_PER_MICRO)

    def times(self, share: float) -> Price:
        """Return `share` of the price."""
        return Price(
            input_nano=round(self.input_nano * share),
            cached_nano=round(self.cached_nano * share),
            output_nano=round(self.output_nano * share),
            thinking_nano=None if self.thinking_nano is None else round(self.thinking_nano * share),
        )


Models = Mapping[str, Price]


class Prices:
    """Prices by model; under `*` that of every other. `batch_share` of them is asked for batches.

    `tenants` have lists of their own; a model that is not on theirs costs what it costs everybody.
    """

    def __init__(
        self,
        models: Models | None = None,
        *,
        currency: str = "",
        batch_share: float = 1.0,
        tenants: Mapping[str, Models] | None = None,
    ) -> None:
        self.currency = currency
        self._lists = {"": dict(models or {})} | {tenant: dict(one) for tenant, one in (tenants or {}).items()}
        self._batch = {
            tenant: {name: price.times(batch_share) for name, price in own.items()}
            for tenant, own in self._lists.items()
        }
        self._any = any(self._lists.values())

    def __bool__(self) -> bool:
        return self._any

    def of(self, model: str, face: str = "", tenant: str = "") -> Price | None:
        """Return the price of a model's tokens to a tenant, None where it has none.

        Of four the first that there is: the tenant's for the model, its `*`, everybody's for the model, their `*`.
        """
        if not self._any:
            return None
        lists = self._batch if face == "batch" else self._lists
        own = lists.get(tenant) if tenant else None
        if own and (found := own.get(model) or own.get("*")):
            return found
        everybodys = lists[""]
        return everybodys.get(model) or everybodys.get("*")


def per_million(price: float) -> int:
    """Return a price per million tokens in billionths per token."""
    return round(price * 1000)
