"""May this key ask this of that model: scopes, and the policies in force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tokenworks.core.label import Label
from tokenworks.gateway.errors import forbidden, not_found
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.releases import Releases, Served
from tokenworks.gateway.ruling import Rules, Ruling
from tokenworks.governance.keys import Principal

Look = Callable[[bytes], Awaitable[Label]]
HOUSE = "house"  # the tenant of the factory itself


@dataclass(frozen=True)
class Authorise:
    """Fail closed: what no rule allows is refused, with the rule in the message."""

    releases: Releases
    rules: Rules = field(default_factory=Rules)
    look: Look | None = None  # what raises the label by what stands in the prompt

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Set the version that will answer, the label of the answer, and who is asked before text goes anywhere."""
        who, name = exchange.who, exchange.what.model
        require_scope(who, "infer")
        served = assign(exchange, await named(self.releases, who, name))
        least = exchange.least if self.look is None else exchange.least.raised(await self.look(exchange.body))
        declared, at_s = exchange.label, exchange.at
        door = self.rules.door(who, served, declared, least, at_s)
        exchange.ruling = exchange.permits = Ruling(self.rules, who, served, door)
        if door.refusal:
            raise forbidden(door.refusal, code=door.code, param="model")
        for other in (exchange.instead, exchange.beside):
            if other is not None and self.rules.door(who, other, declared, least, at_s).refusal:
                _spare(exchange, other)
        exchange.label, exchange.outgoing = door.label, door.outgoing
        exchange.version = served.ref
        return await proceed(exchange)


def _spare(exchange: Exchange, other: Served) -> None:
    """Forget a version that would be asked too: the policies deny it."""
    if exchange.instead is other:
        exchange.instead = None
    if exchange.beside is other:
        exchange.beside = None


async def find_model(releases: Releases, who: Principal, name: str) -> Served:
    """Return the model called `name`; raise 404 where it does not exist as far as this principal is concerned."""
    served = await named(releases, who, name)
    if not may_see(who, served):
        raise not_found(await _explain(releases, who, name), code="model_not_found", param="model")
    return served


async def named(releases: Releases, who: Principal, name: str) -> Served:
    """Return the model called `name`, whatever its label; raise 404 where there is none, or only another tenant's."""
    if "@" in name:
        require_scope(who, "versions")
        served = await releases.version(name)
    else:
        served = await releases.current(name)
    if served is None or not theirs(who, served):
        raise not_found(await _explain(releases, who, name), code="model_not_found", param="model")
    return served


async def _explain(releases: Releases, who: Principal, name: str) -> str:
    """Say which models there are, but name only those that the caller may use."""
    usable = [alias for alias, served in (await releases.all()).items() if may_see(who, served)]
    there = (
        f"there are: {', '.join(sorted(usable))}" if usable else "nothing is released yet; GET /v1/models lists what is"
    )
    return f"model {name!r} does not exist or you may not use it; {there}"


def assign(exchange: Exchange, served: Served) -> Served:
    """Return which version answers, and note the arm where one is on trial.

    The unit is the caller's user, else the conversation, else the request. Who may not see what the candidate learned
    from, or sends text that it may not see, is answered by the incumbent and is no part of the trial.
    """
    trial = served.trial
    if trial is None or not may_see(exchange.who, trial.candidate) or trial.candidate.accepts != served.accepts:
        return served
    request = exchange.request_id if exchange.thought is None else exchange.thought.of
    taken = trial.takes(exchange.user or exchange.conversation or request)
    exchange.broken = trial.broken if taken else ""
    if trial.mode == "shadow":
        exchange.arm, exchange.beside = "incumbent", trial.candidate if taken else None
        return served
    exchange.arm = "canary" if taken else "incumbent"
    if not taken:
        return served
    exchange.instead = served
    return trial.candidate


def may_see(who: Principal, served: Served) -> bool:
    """Return whether the model exists as far as this principal is concerned."""
    return theirs(who, served) and Label.parse(served.label) <= who.clearance


def theirs(who: Principal, served: Served) -> bool:
    """Return whether the model is everybody's, or the principal's tenant's; the house itself judges all of them."""
    return served.tenant in ("", who.tenant) or who.tenant == HOUSE


def require_scope(who: Principal, scope: str) -> None:
    """Raise 403 unless the key has `scope`."""
    if scope not in who.scopes:
        has = ", ".join(sorted(who.scopes)) or "none"
        raise forbidden(
            f"key {who.key_id} lacks the scope '{scope}' (it has: {has}); ask for a key that has it",
            code="missing_scope",
        )
