"""May this caller have so much: rates, concurrency, budgets. Reserved here, settled by the request's ledger entry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

import msgspec

from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.limits.bundle import Amounts, Bundle, Granted
from tokenworks.gateway.limits.claims import BUDGETS, MONEY, Claim, Verdict, claims_of
from tokenworks.gateway.limits.counters import Counters, LocalCounters
from tokenworks.gateway.limits.told import headers, refused
from tokenworks.gateway.thinking.thought import Thought
from tokenworks.governance.keys import Principal
from tokenworks.governance.limits import Limit as Bound
from tokenworks.governance.limits import Limits, Share, Subject
from tokenworks.governance.prices import Price, Prices
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.spending import Spending, alias_of, charged

LOOK_S = 0.25  # how often a waiting request looks again for what a changed limit lets pass


class Limit:
    """Reserve the most that a request can come to; when its entry is durable, charge what the entry says.

    A request that would fit if those under way used less than they hold waits for them, up to `wait_s`.
    """

    def __init__(
        self,
        limits: Limits,
        spending: Spending,
        counters: Counters,
        *,
        wait_s: float,
        answer_tokens: int,
        prices: Prices | None = None,
    ) -> None:
        self._limits = limits
        self._spending = spending
        self._counters = counters
        self._wait_s = wait_s
        self._answer_tokens = answer_tokens
        self._prices = prices or Prices()
        self._at_once = counters if isinstance(counters, LocalCounters) else None
        self._freed = asyncio.Event()
        self._takers = 0  # requests that are being granted or wait for it
        self._settling: set[asyncio.Task[None]] = set()

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Refuse with 429 what does not fit, saying which limit and when to come back."""
        who, model = exchange.who, alias_of(exchange.what.model)
        limits, share = await self._limits.terms(_subject(who, model), who.budget)
        exchange.weight, exchange.priority = share.weight, max(exchange.priority, share.priority)
        exchange.price = self._prices.of(model, exchange.face, who.tenant)
        claims = self._claims(exchange, limits)
        verdict = await self._take(claims, exchange.thought) if claims else None
        if verdict is not None:
            exchange.told = headers(verdict.standings)
        if exchange.thought is None:
            exchange.settle = partial(self._settle, claims)
        else:
            exchange.settle = partial(self._settle_sample, claims, exchange.thought.kept, exchange.price)
        return await proceed(exchange)

    def at_hand(self, who: Principal, model: str) -> tuple[list[Bound], Share] | None:
        """Return the bounds and the share of `who` at `model`, None where the catalog has to be asked."""
        return self._limits.at_hand(_subject(who, alias_of(model)), who.budget)

    def bundle(self, limits: Sequence[Bound], at: float) -> Bundle | None:
        """Return `limits` put together for the day of `at`, None where others count them too."""
        if self._at_once is None:
            return None if limits else Bundle([], LocalCounters(lambda claim: 0), at=at)
        claims = claims_of(limits, at=at, likely=0, most=0, currency=self._prices.currency)
        return Bundle(claims, self._at_once, at=at)

    def price(self, model: str, *, face: str = "", tenant: str) -> Price | None:
        """Return what a token of `model` costs a tenant, None where it has no price."""
        return self._prices.of(alias_of(model), face, tenant)

    def grant(self, bundle: Bundle, exchange: Exchange) -> Granted | None:
        """Reserve at once what `exchange` can come to; None where it has to wait, or go."""
        amounts = self._amounts(exchange, has_budget=bundle.has_budget)
        lefts = bundle.take(amounts)
        if lefts is None:
            return None
        granted = Granted(bundle, amounts, lefts, exchange.at)
        exchange.settle = partial(self._settle_granted, granted)
        return granted

    def _amounts(self, exchange: Exchange, *, has_budget: bool) -> Amounts:
        size, price = exchange.what.size, exchange.price
        each = self._answer_tokens if size.answer_most is None else size.answer_most
        if size.answer_most is None and has_budget:
            exchange.answer_most = each
        answer = size.answers * each
        micro = price.most_micro(prompt=size.prompt_most, completion=answer) if price else 0
        return Amounts(size.prompt_likely + answer, size.prompt_most + answer, micro)

    def _settle_granted(self, granted: Granted, entry: RequestEntry) -> None:
        self._spending.add(entry)
        granted.give_back(charged(entry))
        self._wake()

    @property
    def answer_tokens(self) -> int:
        """The most of a chat answer whose caller set no bound and has a limit."""
        return self._answer_tokens

    @property
    def currency(self) -> str:
        """What prices are in."""
        return self._prices.currency

    def settle_all(self, kept: list[Claim], entry: RequestEntry) -> None:
        """Charge what the entry of an answer says, and give back what its samples came to."""
        self._settle(kept, entry)

    async def close(self) -> None:
        """Let every settlement end, then the connections."""
        await asyncio.gather(*self._settling)
        await self._counters.close()

    def _claims(self, exchange: Exchange, limits: Sequence[Bound]) -> list[Claim]:
        """Return what the request claims; an answer without a bound of its own gets one where there is a budget."""
        if not limits:
            return []
        amounts = self._amounts(exchange, has_budget=any(limit.has_budget for limit in limits))
        return claims_of(
            limits,
            at=exchange.at,
            likely=amounts.likely,
            most=amounts.most,
            most_micro=amounts.most_micro,
            currency=self._prices.currency,
        )

    async def _take(self, claims: list[Claim], thought: Thought | None) -> Verdict:
        """Return the verdict that granted `claims`; raise 429 where none does in time.

        A sample waits for nobody once another of its answer's is there: what that one used is held until then, and
        two answers would wait for each other.
        """
        self._takers += 1
        try:
            return await self._granted(claims, time.monotonic() + self._wait_s, thought)
        finally:
            self._takers -= 1

    async def _granted(self, claims: list[Claim], until: float, thought: Thought | None) -> Verdict:
        while True:
            freed = self._freed
            verdict = await self._counters.take(claims)
            if verdict.granted:
                return verdict
            left_s = until - time.monotonic()
            if not verdict.later or left_s <= 0 or (thought is not None and thought.kept):
                raise refused(verdict)
            try:
                async with asyncio.timeout(min(LOOK_S, left_s)):
                    await freed.wait()
            except TimeoutError:
                continue

    def _settle(self, claims: list[Claim], entry: RequestEntry) -> None:
        """Charge what the entry says, then give back what was held: in between neither is free to others."""
        self._spending.add(entry)
        self._free(claims, charged(entry))

    def _settle_sample(self, claims: list[Claim], kept: list[Claim], price: Price | None, entry: RequestEntry) -> None:
        """Give back what a sample held; of budgets, what it used stays held until its answer is charged.

        A request it is by itself.
        """
        self._spending.add(entry)
        tokens = entry.prompt_tokens + entry.completion_tokens
        micro = 0
        if price is not None:
            used = {"prompt": entry.prompt_tokens, "cached": entry.cached_tokens, "completion": entry.completion_tokens}
            # Which of it will be shown is not known yet: it stays held at the dearer of the two prices.
            micro = max(price.micro(**used), price.micro(**used, thinking=entry.completion_tokens))
        free: list[Claim] = []
        for claim in claims:
            stays = min(claim.amount, micro if claim.kind in MONEY else tokens) if claim.kind in BUDGETS else 0
            if stays:
                kept.append(msgspec.structs.replace(claim, amount=stays))
            free.append(msgspec.structs.replace(claim, amount=claim.amount - stays))
        self._free(free, tokens)

    def _free(self, claims: list[Claim], tokens: int) -> None:
        if claims and self._at_once is not None:
            self._at_once.give_back(claims, tokens)
            self._wake()
        elif claims:
            task = asyncio.create_task(self._release(claims, tokens))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _release(self, claims: list[Claim], tokens: int) -> None:
        await self._counters.settle(claims, tokens)
        self._wake()

    def _wake(self) -> None:
        """Let those who wait look again."""
        if self._takers:
            self._freed.set()
            self._freed = asyncio.Event()


def _subject(who: Principal, model: str) -> Subject:
    return Subject(who.tenant, who.key_id, model, who.project, who.grant if who.budget is not None else "")
