"""May this key ask this of that model: scopes, and the label rule."""

from __future__ import annotations

from dataclasses import dataclass

from tokenworks.core.errors import RefusedError
from tokenworks.core.label import Label
from tokenworks.gateway.errors import forbidden, not_found
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.releases import Releases, Served
from tokenworks.governance.keys import Principal
from tokenworks.governance.labels import answer_label, cleared, outgoing_label

HOUSE = "house"  # the tenant of the factory itself


@dataclass(frozen=True)
class Authorise:
    """Fail closed: what no rule allows is refused, with the rule in the message."""

    releases: Releases

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Set the version that will answer and the label of the answer."""
        who, name = exchange.who, exchange.what.model
        require_scope(who, "infer")
        served = assign(exchange, await named(self.releases, who, name))
        model, accepts = Label.parse(served.label), Label.parse(served.accepts)
        try:
            prompt = outgoing_label(exchange.label, accepts=accepts, clearance=who.clearance, name=name)
            exchange.label = answer_label(prompt, model, clearance=who.clearance, name=name)
            exchange.outgoing, exchange.permits = prompt, cleared
        except RefusedError as error:
            raise forbidden(str(error), code="clearance_too_low", param="model") from None
        exchange.version = served.ref
        return await proceed(exchange)


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
    taken = trial.takes(exchange.user or exchange.conversation or exchange.request_id)
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
