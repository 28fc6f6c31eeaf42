"""Is the answer to be thought about: then it is made of several samples, each of them an ordinary call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import highest
from tokenworks.gateway.errors import ApiError, bad_request, engine_failed
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.openai.fields import Reasoning, Verification
from tokenworks.gateway.thinking.asking import Asking, RefusedError
from tokenworks.gateway.thinking.choices import Choices, Unmeasured
from tokenworks.gateway.thinking.judging import judging
from tokenworks.gateway.thinking.purse import Purses
from tokenworks.gateway.thinking.telling import Report, reply_of, usage_told, whole_body
from tokenworks.gateway.thinking.thought import Thought
from tokenworks.gateway.thinking.wish import Wanted, read_by, read_wanted, samples_of, verifier_of
from tokenworks.ledger.spending import alias_of
from tokenworks.serving.thinking.contract import DrawError, Outcome, Plan, Strategy
from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.find import strategy_named
from tokenworks.serving.thinking.measured import PLAIN, Measured
from tokenworks.serving.thinking.verifying import Verifier

MICRO = 1_000_000


class Think:
    """`inner` answers a sample: the layers from `authorise` on. `choices` knows what each model does by default.

    Of a version that `thinks` by itself, for another server answers, an effort alone is that server's business, until
    something was measured.
    """

    def __init__(
        self,
        inner: Handle,
        limit: Limit,
        choices: Choices | None = None,
        thinks: Callable[[str], bool] | None = None,
    ) -> None:
        self._inner = inner
        self._thinks = thinks or _never
        self._limit = limit
        self._choices = choices or Unmeasured()
        self._purses = Purses(limit)

    def __call__(self, exchange: Exchange, proceed: Handle) -> Awaitable[Reply]:
        """Ask once, or think."""
        asked = exchange.what.reasoning
        if asked is None:
            return proceed(exchange)
        return self._think(exchange, asked, proceed)

    async def _think(self, exchange: Exchange, asked: Reasoning, proceed: Handle) -> Reply:
        measured = await self._choices.of(alias_of(exchange.what.model))
        unmeasured = measured is None or measured.chosen == PLAIN
        if unmeasured and asked == Reasoning(effort=asked.effort) and self._elsewhere(exchange):
            return await proceed(exchange)
        wanted = read_wanted(exchange.body)
        name, most, why = _chosen(asked, measured)
        asked = _as_measured(asked, name, measured)
        exchange.thought = thought = Thought(of=exchange.request_id, strategy=name)
        exchange.settle = partial(self._limit.settle_all, thought.kept)
        asking = Asking(exchange, self._inner, wanted)
        purse, cost = self._purses.open(exchange, asked, wanted, measured)
        read = await asyncio.to_thread(read_by, asked)
        desk = Desk(asking.sample, purse, cost=cost, read=read, alike=wanted.temperature == 0)
        verifier = None
        if asked.verifier is not None and asked.verifier.type == "judge":
            verifier = judging(asked, wanted, asking, desk, exchange.what.model)
        strategy = await asyncio.to_thread(_made, name, most, asked, wanted, verifier)
        try:
            outcome = await strategy.think(desk)
        except DrawError as error:
            raise _for_callers(error) from None
        for one in asking.exchanges.values():
            self._purses.learn(one)
        return self._reply(exchange, asking, desk, outcome, why)

    def _elsewhere(self, exchange: Exchange) -> bool:
        ruling = exchange.ruling
        return self._thinks(exchange.version) or (ruling is not None and ruling.elsewhere)

    def _reply(self, exchange: Exchange, asking: Asking, desk: Desk, outcome: Outcome, why: str) -> Reply:
        thought, chosen = exchange.thought, asking.exchanges[outcome.chosen.number]
        assert thought is not None, "set before anything was drawn"
        shown = desk.samples if outcome.text is not None else [outcome.chosen]
        thought.show([asking.exchanges[one.number].usage for one in shown])
        thought.agreement, thought.stopped = outcome.agreement, outcome.stopped
        exchange.version, exchange.engine, exchange.told = chosen.version, chosen.engine, chosen.told
        exchange.label = highest([exchange.label or asking.label, asking.label])  # all of them had a say
        exchange.sent = [*chosen.sent]
        exchange.arm = exchange.arm if all(one.arm == exchange.arm for one in asking.exchanges.values()) else ""
        exchange.ttft_s = time.monotonic() - exchange.started_s
        report = self._report(exchange, thought, asking, desk, outcome, why)
        told = usage_told(exchange.usage, thought.thinking_tokens)
        body = asking.bodies[outcome.chosen.number]
        asked = exchange.what
        return reply_of(
            whole_body(body, outcome.text, told, report, bool(asking.wants_logprobs)),
            stream=asked.stream,
            include_usage=asked.include_usage,
            engine=chosen.engine,
            headers=(report.header,),
        )

    def _report(
        self, exchange: Exchange, thought: Thought, asking: Asking, desk: Desk, outcome: Outcome, why: str
    ) -> Report:
        entries = [one.entry for one in (*asking.exchanges.values(), *asking.judged) if one.entry is not None]
        joules = [entry.joules for entry in entries if entry.joules is not None]
        priced = any(price is not None for price in thought.used)
        cost = sum(entry.cost_micro for entry in entries)
        return Report(
            strategy=thought.strategy,
            why=why,
            samples=len(desk.samples),
            failed=desk.failed,
            stopped=outcome.stopped,
            agreement=None if outcome.agreement is None else round(outcome.agreement, 6),
            score=outcome.score,
            answer=outcome.answer,
            thinking_tokens=thought.thinking_tokens,
            seconds=round(exchange.ttft_s, 6),
            engine_s=round(sum(entry.engine_s for entry in entries), 6),
            joules=sum(joules) if entries and len(joules) == len(entries) else None,
            price=thought.price_micro / MICRO if priced else None,
            cost=cost / MICRO if cost else None,
            currency=self._limit.currency if priced or cost else "",
            requests=tuple(one.request_id for one in (*asking.exchanges.values(), *asking.judged)),
            notes=(*outcome.notes, *desk.notes),
        )


def _never(version: str) -> bool:
    return False


def _chosen(asked: Reasoning, measured: Measured | None) -> tuple[str, int, str]:
    """Return which way is gone, with how many samples at most, and why where the caller leaves it open."""
    most = samples_of(asked)
    if asked.strategy != "auto":
        return asked.strategy, most, ""
    if asked.verifier is not None:
        return "best-of-n", most, "there is a verifier"
    if asked.effort == "minimal":
        return PLAIN, 1, "of minimal effort"
    if measured is None:
        return "self-consistency", most, "nothing was measured for this model: tokenworks evaluate --sweep reasoning"
    return measured.chosen, min(most, measured.samples), f"measured on {measured.version}: {measured.why}"


def _as_measured(asked: Reasoning, name: str, measured: Measured | None) -> Reasoning:
    """Return what is asked with what the default needs and was measured with, where the caller leaves it open."""
    if measured is None or asked.strategy != "auto" or name != measured.chosen:
        return asked
    if asked.verifier is None and measured.verifier is not None:
        asked = msgspec.structs.replace(asked, verifier=msgspec.convert(measured.verifier, Verification))
    if measured.cue and asked.cue == Reasoning().cue:
        asked = msgspec.structs.replace(asked, cue=measured.cue)
    return asked


def _made(name: str, most: int, asked: Reasoning, wanted: Wanted, verifier: Verifier | None) -> Strategy:
    """Return the way of thinking; called in a thread, since what it needs may have to be loaded first."""
    if verifier is None and asked.verifier is not None:
        verifier = verifier_of(asked.verifier, wanted)
    plan = Plan(samples=most, confidence=asked.confidence, rounds=asked.rounds, cue=asked.cue, verifier=verifier)
    try:
        return strategy_named(name, plan)
    except ConfigError as error:
        raise bad_request(str(error), param="reasoning.strategy") from None


def _for_callers(error: DrawError) -> ApiError:
    """Return why there is not one sample."""
    if isinstance(error, RefusedError):
        return error.error
    if error.code.startswith("budget"):
        return ApiError(504, f"{error}; give it more, or ask for less", code="budget_exhausted", kind="server_error")
    return engine_failed(str(error))
