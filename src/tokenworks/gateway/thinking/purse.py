"""The purse of one answer: its budget in the prices and the measured joules of the model that is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tokenworks.gateway.errors import bad_request
from tokenworks.gateway.exchange import Exchange
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.openai.fields import Reasoning
from tokenworks.gateway.thinking.wish import Wanted, budget_of, wrong_budget
from tokenworks.governance.prices import Price
from tokenworks.serving.thinking.budget import MICRO, NANO, Purse, Rate, rates_of
from tokenworks.serving.thinking.contract import BudgetError, Sample
from tokenworks.serving.thinking.measured import Measured

MODELS = 256  # whose joules are remembered
Cost = Callable[[Sample], Mapping[str, int]]


class Purses:
    """Opens purses; remembers the most joules that a token of each version was seen to take."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._joules: dict[str, float] = {}

    def learn(self, sample: Exchange) -> None:
        """Take in what a sample was metered at."""
        entry = sample.entry
        if entry is None or entry.joules is None or not math.isfinite(entry.joules) or entry.joules < 0:
            return
        each = entry.joules * (1 + 2 * entry.joules_error) / max(1, entry.prompt_tokens + entry.completion_tokens)
        if each > self._joules.get(entry.version, 0.0) and (
            entry.version in self._joules or len(self._joules) < MODELS
        ):
            self._joules[entry.version] = each

    def open(
        self, exchange: Exchange, asked: Reasoning, wanted: Wanted, measured: Measured | None
    ) -> tuple[Purse, Cost]:
        """Return the purse and what a sample costs in it; raise 400 for a budget that cannot be kept, or too small."""
        budget = budget_of(asked, wanted)
        price = self._limit.price(exchange.what.model, face=exchange.face, tenant=exchange.who.tenant)
        if budget.money is not None and price is None:
            raise bad_request(
                f"model {exchange.what.model!r} has no price, so money cannot bound it; bound tokens or set prices",
                param="reasoning.budget.money",
                code="invalid_budget",
            )
        joules = self._joules_of(exchange, measured) if budget.joules is not None else 0.0
        input_nano, output_nano = (price.most_input_nano, price.most_output_nano) if price else (0, 0)
        rates = rates_of(budget, nano_per_prompt=input_nano, nano_per_token=output_nano, joules_per_token=joules)
        try:
            purse = Purse(
                budget, rates, prompt=exchange.what.size.prompt_most, most_tokens=self._most(exchange, wanted, rates)
            )
        except BudgetError as error:
            raise wrong_budget(error) from None
        return purse, cost_in(price)

    def _most(self, exchange: Exchange, wanted: Wanted, rates: Mapping[str, Rate]) -> int | None:
        """Return what one sample may make at most, beside what the purse has; None: what the context has room for.

        Where its caller set no bound but a budget, as much as any chat answer with a limit: all that the budget pays
        for is often more than a context holds, which engines refuse.
        """
        if exchange.endpoint == "completions":
            return exchange.what.size.answer_most
        if wanted.max_tokens is None and wanted.max_completion_tokens is None and rates:
            return self._limit.answer_tokens
        return wanted.max_tokens

    def _joules_of(self, exchange: Exchange, measured: Measured | None) -> float:
        known = self._joules.get(exchange.version, 0.0)
        if measured is not None and measured.joules_per_token:
            known = max(known, measured.joules_per_token)
        if known:
            return known
        raise bad_request(
            f"no joules were metered of {exchange.version} yet, so that they cannot bound it; bound tokens, or measure "
            "them: tokenworks evaluate --sweep reasoning, with a meter",
            param="reasoning.budget.joules",
            code="invalid_budget",
        )


def cost_in(price: Price | None) -> Cost:
    """Return what a sample comes to: tokens made, billionths of money, millionths of a joule where metered."""

    def cost(sample: Sample) -> dict[str, int]:
        spent = {"tokens": sample.completion_tokens}
        if price is not None:
            made = sample.completion_tokens
            used = {"prompt": sample.prompt_tokens, "cached": sample.cached_tokens, "completion": made}
            dearest = max(price.micro(**used), price.micro(**used, thinking=made))  # which of it is shown is not known
            spent["money"] = dearest * NANO
        if sample.joules is not None and 0 <= sample.joules < math.inf:  # else nobody knows: it counts as held
            spent["joules"] = math.ceil(sample.joules * MICRO)
        return spent

    return cost
