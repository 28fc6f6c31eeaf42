"""A hard budget and the purse that keeps it: the most a sample can come to is taken out before it is asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import msgspec

from tokenworks.serving.thinking.samples import BudgetError

SMALLEST_TOKENS = 16  # a sample of fewer says nothing, unless its caller wants no more
NANO = 1000  # a millionth in billionths
MICRO = 1_000_000
MOST_SAMPLES = 128


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What may be spent on one answer; None: no bound of this kind."""

    samples: int | None = None
    tokens: int | None = None  # made by the model, thrown away or not
    seconds: float | None = None
    joules: float | None = None
    money: float | None = None  # in the unit of the price list

    def check(self) -> None:
        """Raise `BudgetError` for what cannot be meant."""
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value is not None and (not math.isfinite(value) or value <= 0):
                raise BudgetError(field, f"a budget of {value:g} buys nothing; give more than 0, or leave it out")
        if self.samples is not None and self.samples > MOST_SAMPLES:
            raise BudgetError("samples", f"{self.samples} samples are too many; at most {MOST_SAMPLES} are drawn")


class Rate(msgspec.Struct, frozen=True):
    """The most a sample of so many tokens can come to, in whole units: `fixed + per_prompt*prompt + per_token*made`."""

    left: int
    fixed: int = 0
    per_prompt: int = 0
    per_token: int = 0

    def most(self, prompt: int, made: int) -> int:
        """Return the most that a sample can come to."""
        return self.fixed + self.per_prompt * prompt + self.per_token * made


class Hold(msgspec.Struct, frozen=True):
    """What was taken out for one sample: `tokens` is what it may make, None where nothing bounds it."""

    tokens: int | None
    amounts: Mapping[str, int]


def rates_of(
    budget: Budget, *, nano_per_prompt: int = 0, nano_per_token: int = 0, joules_per_token: float = 0.0
) -> dict[str, Rate]:
    """Return what each bounded kind has, in tokens, billionths of money and millionths of a joule.

    `joules_per_token` is the most that was measured, of prompt and answer alike; it must be known where joules are
    bounded.
    """
    rates: dict[str, Rate] = {}
    if budget.tokens is not None:
        rates["tokens"] = Rate(budget.tokens, per_token=1)
    if budget.money is not None:  # a price is rounded up to a millionth, once for the whole answer: reserved for each
        left = math.floor(budget.money * MICRO * NANO)
        rates["money"] = Rate(left, NANO - 1, nano_per_prompt, nano_per_token)
    if budget.joules is not None:
        each = math.ceil(joules_per_token * MICRO)
        rates["joules"] = Rate(math.floor(budget.joules * MICRO), 0, each, each)
    return rates


class Purse:
    """What is left. `most_tokens` is what one sample may make where the caller bounds it; times are monotonic."""

    def __init__(
        self,
        budget: Budget,
        rates: Mapping[str, Rate],
        *,
        prompt: int,
        most_tokens: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        budget.check()
        self._now = now
        self._prompt = prompt
        self._most = most_tokens
        self._rates = dict(rates)
        self._left = {kind: rate.left for kind, rate in rates.items()}
        self.samples_left = MOST_SAMPLES if budget.samples is None else budget.samples
        self.until_s = math.inf if budget.seconds is None else now() + budget.seconds
        self.empty = ""  # which kind ran out
        self._check_one()

    def left(self, kind: str) -> int:
        """Return what is left of a kind that is bounded."""
        return self._left[kind]

    def take(self, *, extra_prompt: int = 0, most: int | None = None, least: int = SMALLEST_TOKENS) -> Hold | None:
        """Take out what one more sample can come to; None where not even `least` tokens fit.

        `most` bounds the sample beside the caller's own bound.
        """
        if self.samples_left <= 0:
            self.empty = "samples"
            return None
        if self._now() >= self.until_s:
            self.empty = "seconds"
            return None
        wants = [bound for bound in (self._most, most) if bound is not None]
        want = min(wants) if wants else None
        prompt = self._prompt + extra_prompt
        fits, kind = self._fits(prompt)
        if fits is not None and (want is None or fits < want):
            if fits < (least if want is None else min(least, want)):
                self.empty = kind
                return None
            want = fits
        self.samples_left -= 1
        return self._taken(want, prompt)

    def take_aside(self, extra_prompt: int, tokens: int) -> Hold | None:
        """Take out what something else may come to, that is no sample and not bound as they are; None: no room."""
        if self._now() >= self.until_s:
            self.empty = "seconds"
            return None
        fits, kind = self._fits(self._prompt + extra_prompt)
        if fits is not None and fits < tokens:
            self.empty = kind
            return None
        return self._taken(tokens, self._prompt + extra_prompt)

    def settle(self, hold: Hold, spent: Mapping[str, int]) -> None:
        """Put back what was held and not spent; a kind that `spent` does not name is spent as held.

        Nothing is earned by an answer: a negative figure counts as 0.
        """
        for kind, amount in hold.amounts.items():
            self._left[kind] += amount - max(0, spent.get(kind, amount))

    def put_back(self, hold: Hold) -> None:
        """Undo a hold: nothing was done for it."""
        self.settle(hold, dict.fromkeys(hold.amounts, 0))
        self.samples_left += 1

    def _taken(self, tokens: int | None, prompt: int) -> Hold:
        amounts = {kind: rate.most(prompt, tokens or 0) for kind, rate in self._rates.items()}
        for kind, amount in amounts.items():
            self._left[kind] -= amount
        return Hold(tokens, amounts)

    def _fits(self, prompt: int) -> tuple[int | None, str]:
        """Return how many tokens what is left pays for, and what bounds them most; None where nothing does."""
        found: tuple[int | None, str] = (None, "")
        for kind, rate in self._rates.items():
            over = self._left[kind] - rate.most(prompt, 0)
            fits = (-1 if over < 0 else 1 << 40) if rate.per_token == 0 else over // rate.per_token
            if found[0] is None or fits < found[0]:
                found = (fits, kind)
        return found

    def _check_one(self) -> None:
        fits, kind = self._fits(self._prompt)
        least = SMALLEST_TOKENS if self._most is None else min(SMALLEST_TOKENS, self._most)
        if fits is None or fits >= least:
            return
        rate = self._rates[kind]
        unit = {"tokens": 1, "money": MICRO * NANO, "joules": MICRO}[kind]
        needs = rate.most(self._prompt, least) / unit
        raise BudgetError(kind, f"{rate.left / unit:g} is too small for one sample, which may come to {needs:g}")
