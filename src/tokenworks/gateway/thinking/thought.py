"""What a request knows of being thought about: as the answer that samples are drawn for, or as one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from tokenworks.core.usage import Usage
from tokenworks.gateway.limits.claims import Claim
from tokenworks.governance.prices import Price
from tokenworks.ledger.entries import RequestEntry


@dataclass(slots=True, kw_only=True)
class Thought:
    """An answer and its samples share `of` and `kept`."""

    of: str  # the request that is answered
    sample: bool = False
    kept: list[Claim] = field(default_factory=list)  # of budgets: what samples used, until the answer is charged
    strategy: str = ""
    samples: int = 0
    thinking_tokens: int = 0
    agreement: float | None = None
    stopped: str = ""
    used: dict[Price | None, Usage] = field(default_factory=dict)  # by what a token costs: a judge may be another model

    def take(self, price: Price | None, usage: Usage) -> None:
        """Count a sample."""
        self.samples += 1
        self.used[price] = added(self.used.get(price, Usage()), usage)

    def show(self, shown: Sequence[Usage]) -> None:
        """Count as thinking what is not in the samples that the caller is given, and what those keep to themselves."""
        said = sum(one.completion_tokens - min(one.thinking_tokens, one.completion_tokens) for one in shown)
        self.thinking_tokens = self.usage.completion_tokens - said

    @property
    def usage(self) -> Usage:
        """What all samples used."""
        total = Usage()
        for usage in self.used.values():
            total = added(total, usage)
        return total

    @property
    def price_micro(self) -> int:
        """What they cost together, in millionths, rounded up once for each price.

        The first price is that of the model that was asked; what it wrote and nobody is shown was thinking.
        """
        thinking, total = self.thinking_tokens, 0
        for price, used in self.used.items():
            if price is not None:
                total += price.micro(
                    prompt=used.prompt_tokens,
                    cached=used.cached_tokens,
                    completion=used.completion_tokens,
                    thinking=min(thinking, used.completion_tokens),
                )
            thinking = 0
        return total

    def mark(self, entry: RequestEntry) -> RequestEntry:
        """Return the entry with what it is.

        A sample is sold to nobody, and no trial counts it: its answer is, and does.
        """
        if self.sample:
            return msgspec.structs.replace(entry, part_of=self.of, price_micro=0, arm="")
        return msgspec.structs.replace(
            entry,
            price_micro=self.price_micro,
            samples=self.samples,
            strategy=self.strategy,
            thinking_tokens=self.thinking_tokens,
            agreement=self.agreement,
            stopped=self.stopped,
        )


def added(one: Usage, other: Usage) -> Usage:
    """Return both together."""
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        thinking_tokens=one.thinking_tokens + other.thinking_tokens,
    )
