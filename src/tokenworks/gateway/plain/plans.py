"""What is the same for every plain request of a caller to a model: decided once, and again when anything has changed.

Each duty is asked through its own layer's parts; kept is what they said, with the very objects that they said it of.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from tokenworks.core.priority import Priority
from tokenworks.gateway.admission.place import Place as Lane
from tokenworks.gateway.layers.authorise import theirs
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.gateway.layers.terms import Terms
from tokenworks.gateway.limits.bundle import Bundle
from tokenworks.gateway.releases import Releases
from tokenworks.gateway.route.permitted import label_leaving
from tokenworks.gateway.route.places import Place
from tokenworks.gateway.route.router import Router
from tokenworks.gateway.ruling import NOTHING_CARRIED, Door, Rules, Ruling
from tokenworks.gateway.served import Served
from tokenworks.governance.credentials import Identities
from tokenworks.governance.keys import HOUSE, Principal
from tokenworks.governance.limits import Limit as Bound
from tokenworks.governance.limits import Share
from tokenworks.governance.policy.engine import Policies
from tokenworks.governance.prices import Price
from tokenworks.governance.stamp import MOMENT_S

HOUR_S = 3600  # policies may name the hour of the week, limits the day: both change with the hour
REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a caller's plain requests for a model are answered while what the first group names is what it is."""

    who: Principal
    served: Served
    bounds: list[Bound]
    policies: Policies
    from_at: float
    until_at: float

    door: Door
    place: Place
    ruling: Ruling  # that has permitted the one destination there is
    bundle: Bundle
    price: Price | None
    weight: float
    priority: Priority
    deadline_s: float
    lane: Lane
    marks: str  # what its answers say of themselves, as lines of HTTP


class Plans:
    """Plans by caller and model."""

    def __init__(
        self,
        keys: Identities,
        releases: Releases,
        rules: Rules,
        terms: Terms,
        limit: Limit,
        schedule: Schedule,
        router: Router,
    ) -> None:
        self._keys = keys
        self._releases = releases
        self._rules = rules
        self._terms = terms
        self._limit = limit
        self._schedule = schedule
        self._router = router
        self._plans: OrderedDict[tuple[str, str], Plan] = OrderedDict()
        self._asked: dict[str, Principal] = {}  # secrets stay in it for a moment only
        self._asked_until_s = 0.0
        self._forgotten = -1

    def of(self, credential: str, model: str, at: float) -> Plan | None:
        """Return the plan at `at`; None where somebody has to be asked, or where it is no plain case: the list says."""
        who, served = self._who(credential), self._releases.at_hand(model)
        if who is None or served is None:
            return None
        limits = self._limit.at_hand(who, model)
        if limits is None:
            return None
        (bounds, share), policies = limits, self._rules.standing()
        name = who.grant or who.key_id, model
        plan = self._plans.get(name)
        if (
            plan is not None
            and plan.who is who
            and plan.served is served
            and plan.bounds is bounds
            and plan.policies is policies
            and plan.from_at <= at < plan.until_at
        ):
            return plan
        plan = self._make(who, model, served, bounds, share, policies, at)
        if plan is not None:
            self._plans[name] = plan
            self._plans.move_to_end(name)
            if len(self._plans) > REMEMBERED:
                self._plans.popitem(last=False)
        return plan

    def _who(self, credential: str) -> Principal | None:
        """Return who holds `credential`, asked anew every `MOMENT_S`: other processes are looked at as often."""
        now_s, forgotten = time.monotonic(), self._keys.forgotten
        if now_s >= self._asked_until_s or forgotten != self._forgotten:
            self._asked.clear()
            self._asked_until_s, self._forgotten = now_s + MOMENT_S, forgotten
        who = self._asked.get(credential)
        if who is None:
            who = self._keys.at_hand(credential)
            if who is not None:
                self._asked[credential] = who
        return who

    def _make(
        self,
        who: Principal,
        model: str,
        served: Served,
        bounds: list[Bound],
        share: Share,
        policies: Policies,
        at: float,
    ) -> Plan | None:
        if who.tenant == HOUSE or "infer" not in who.scopes or served.trial is not None or not theirs(who, served):
            return None
        door = self._rules.door(who, served, None, NOTHING_CARRIED, at)
        place, bundle = self._router.alone(model, served.ref), self._limit.bundle(bounds, at)
        if door.refusal or place is None or bundle is None:
            return None
        ruling = Ruling(self._rules, who, served, door)
        leaving = label_leaving(door.outgoing, place.destination, declared="", clearance=who.clearance)
        if ruling(place.destination, leaving) or policies is not self._rules.in_force.policies:
            return None
        return Plan(
            who=who,
            served=served,
            bounds=bounds,
            policies=policies,
            from_at=at - at % HOUR_S,
            until_at=at - at % HOUR_S + HOUR_S,
            door=door,
            place=place,
            ruling=ruling,
            bundle=bundle,
            price=self._limit.price(model, tenant=who.tenant),
            weight=share.weight,
            priority=max(Priority.INTERACTIVE, share.priority),
            deadline_s=self._terms.usual_s(model),
            lane=self._schedule.place(served.ref),
            marks=f"x-tokenworks-version: {served.ref}\r\nx-tokenworks-label: {door.label}\r\n",
        )
