"""What the policies in force say to requests, remembered: Cedar is asked only what was not asked before.

Everything that a decision depends on is its key; a new set of policies starts with an empty memory. Files are looked
at once a second at most, while requests come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from tokenworks.core.destination import Destination
from tokenworks.core.errors import RefusedError, StoreError
from tokenworks.core.label import Label
from tokenworks.gateway.served import Served
from tokenworks.governance.keys import Principal
from tokenworks.governance.labels import answer_label, cleared, counts_as, outgoing_label
from tokenworks.governance.policy.engine import Decision, Policies
from tokenworks.governance.policy.folder import InForce
from tokenworks.governance.policy.questions import Model, Question, hour_of_week
from tokenworks.ledger.entries import Entry, PolicyEntry
from tokenworks.ledger.position import Position

LOOK_S = 1.0
REMEMBERED = 8192
OF_LABELS = frozenset({"model-above-key", "prompt-above-key", "destination-not-cleared"})
T = TypeVar("T")
log = structlog.get_logger()


class Recorder(Protocol):
    """The ledger as far as changes of policy go."""

    def record(self, entry: Entry) -> Awaitable[Position]:
        """Return its place once the entry is durable; raise `StoreError` when it cannot be."""
        ...


class Least(NamedTuple):
    """What a prompt counts as at least, whatever is declared."""

    inside: Label = Label.PUBLIC  # for an engine here that may see everything
    outside: Label = Label.PUBLIC  # for everybody else

    def raised(self, label: Label) -> Least:
        """Return this with `label` counted too."""
        return Least(max(self.inside, label), max(self.outside, label))


NOTHING_CARRIED = Least()


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """What is said to a request before anything is sent."""

    digest: str  # of the policies that decided
    label: Label = Label.RESTRICTED  # of the answer
    inside: Label = Label.RESTRICTED  # what the prompt counts as for an engine here that may see everything
    outgoing: Label = Label.RESTRICTED  # what it counts as for everybody else
    refusal: str = ""
    code: str = ""
    denied_by: str = ""


class Rules:
    """The policies in force as the layers ask them. Belongs to one event loop."""

    def __init__(self, in_force: InForce | None = None, ledger: Recorder | None = None) -> None:
        self.in_force = in_force or InForce()
        self._ledger = ledger
        self._seen: dict[Hashable, object] = {}
        self._seen_of: Policies = self.in_force.policies
        self._look_s = float("-inf")
        self._recorded = ""  # digest of the set that the ledger knows to be in force
        self._renewal: asyncio.Task[None] | None = None

    def door(self, who: Principal, served: Served, declared: Label | None, least: Least, at_s: float) -> Door:
        """Return whether `who` may ask `served`, and what prompt and answer count as."""
        hour = hour_of_week(at_s)
        return self._remembered(
            (who, served, declared, least, hour), lambda: self._door(who, served, declared, least, hour)
        )

    def sending(self, who: Principal, served: Served, place: Destination, label: Label) -> Decision:
        """Return whether text of `who` with `label`, for `served` to answer, may go to `place` now."""
        hour = hour_of_week(time.time())
        return self._remembered((who, served, place, label, hour), lambda: self._send(who, served, place, label, hour))

    def service(self, who: Principal, action: str) -> Door:
        """Return whether `who` may use one of the services besides models."""
        hour = hour_of_week(time.time())
        return self._remembered((who, action, hour), lambda: self._service(who, action, hour))

    def standing(self) -> Policies:
        """Return the policies in force: the same object while they are."""
        now_s = time.monotonic()
        if now_s >= self._look_s:
            self._look(now_s)
        return self.in_force.policies

    def _remembered(self, key: Hashable, decide: Callable[[], T]) -> T:
        """Return the decision under `key`, made by `decide` where it is new or policies changed."""
        policies = self.standing()
        if self._seen_of is not policies:
            self._seen, self._seen_of = {}, policies
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = decide()
            if len(self._seen) > REMEMBERED:
                del self._seen[next(iter(self._seen))]
        return found  # type: ignore[return-value]  # each kind of key has one kind of decision

    def _door(self, who: Principal, served: Served, declared: Label | None, least: Least, hour: int) -> Door:
        policies = self.in_force.policies
        least = least.raised(policies.floor(who))
        counted = counted_at(served.destination, who, declared, least)
        place = served.destination
        asked = Question(action="infer", who=who, hour_of_week=hour, model=model_of(served), prompt=counted)
        for question in (asked, msgspec.structs.replace(asked, action="send", destination=place)):
            decision = policies.decide(question)
            if not decision.allowed:
                return _refused(policies.digest, decision)
        return _agreed(policies.digest, who, served, declared, counted, least)

    def _service(self, who: Principal, action: str, hour: int) -> Door:
        policies = self.in_force.policies
        decision = policies.decide(Question(action=action, who=who, hour_of_week=hour))
        return Door(digest=policies.digest) if decision.allowed else _refused(policies.digest, decision)

    def _send(self, who: Principal, served: Served, place: Destination, label: Label, hour: int) -> Decision:
        """Ask the policies, and the label rule again in code: either can deny."""
        question = Question(
            action="send", who=who, hour_of_week=hour, model=model_of(served), prompt=label, destination=place
        )
        decision = self.in_force.policies.decide(question)
        refusal = cleared(place, label)
        if decision.allowed and refusal:
            return Decision(allowed=False, policies=("label-rule",), why=refusal)
        return decision

    def _look(self, now_s: float) -> None:
        """Begin to renew the policies where their files changed, or where the ledger does not know the set yet."""
        self._look_s = now_s + LOOK_S
        if self._renewal is not None and not self._renewal.done():
            return
        if self._recorded != self.in_force.policies.digest or self.in_force.stale():
            self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        """Write down the set in force where that is due; a newer one is in force once it is written down."""
        try:
            if self._recorded != self.in_force.policies.digest:
                await self._record(self.in_force.policies)
            fresh = await asyncio.to_thread(self.in_force.fresh) if self.in_force.stale() else None
            if fresh is not None:
                await self._record(fresh)
                self.in_force.take(fresh)
        except StoreError as error:
            log.error("policies stay as they were: the ledger cannot be written", error=str(error))

    async def _record(self, policies: Policies) -> None:
        if self._ledger is not None:
            entry = PolicyEntry(at=time.time(), digest=policies.digest, before=self._recorded, policies=policies.ids)
            await self._ledger.record(entry)
        self._recorded = policies.digest


class Ruling:
    """The policies for one request: asked by whoever sends its text anywhere, at every attempt anew."""

    __slots__ = ("_door", "_rules", "_served", "_who", "denied_by", "digest")

    def __init__(self, rules: Rules, who: Principal, served: Served | None, door: Door) -> None:
        self._rules = rules
        self._who = who
        self._served = served
        self._door = door
        self.digest = door.digest
        self.denied_by = door.denied_by  # by which policies the last attempt was denied

    def __call__(self, place: Destination, label: Label) -> str:
        """Return why text with `label` may not go to `place`, or nothing where it may."""
        if self._served is None:
            return f"no model was asked, so that nothing may go to {place.name}"
        if label == self._door.outgoing and place.clearance == "restricted" and not place.leaves_site:
            label = self._door.inside
        decision = self._rules.sending(self._who, self._served, place, label)
        self.digest = self._rules.in_force.policies.digest
        self.denied_by = "" if decision.allowed else ",".join(decision.policies)
        return "" if decision.allowed else decision.why

    @property
    def elsewhere(self) -> bool:
        """Whether the model that was asked is a server off this site."""
        return self._served is not None and self._served.destination.leaves_site

    def of(self, served: Served) -> Ruling:
        """Return the same for another version that is asked the same."""
        return Ruling(self._rules, self._who, served, self._door)


def model_of(served: Served) -> Model:
    """Return the model as policies see it: by its own name, whatever alias it was asked by."""
    return Model(
        name=served.ref.partition("@")[0], version=served.ref, label=Label.parse(served.label), tenant=served.tenant
    )


def _refused(digest: str, decision: Decision) -> Door:
    code = "clearance_too_low" if decision.policies and OF_LABELS.issuperset(decision.policies) else "denied_by_policy"
    return Door(digest=digest, refusal=decision.why, code=code, denied_by=",".join(decision.policies) or "default")


def counted_at(place: Destination, who: Principal, declared: Label | None, least: Least) -> Label:
    """Return what a prompt counts as at `place`: undeclared text is taken for the worst anywhere but at home."""
    if not place.leaves_site and place.clearance == str(Label.RESTRICTED):
        return counts_as(declared, accepts=Label.RESTRICTED, clearance=who.clearance, least=least.inside)
    return counts_as(declared, accepts=Label.PUBLIC, clearance=who.clearance, least=least.outside)


def _agreed(digest: str, who: Principal, served: Served, declared: Label | None, counted: Label, least: Least) -> Door:
    """Return the labels that go on, once the label rule in code says the same as the policies did."""
    accepts, name = Label.parse(served.accepts), served.ref
    try:
        outgoing_label(counted, accepts=accepts, clearance=who.clearance, name=name)
        label = answer_label(counted, Label.parse(served.label), clearance=who.clearance, name=name)
    except RefusedError as error:
        return Door(digest=digest, refusal=str(error), code="clearance_too_low", denied_by="label-rule")
    inside = counts_as(declared, accepts=Label.RESTRICTED, clearance=who.clearance, least=least.inside)
    outgoing = counts_as(declared, accepts=Label.PUBLIC, clearance=who.clearance, least=least.outside)
    return Door(digest=digest, label=label, inside=inside, outgoing=outgoing)
