"""Invariants of the queue: whatever comes and goes in whatever order, shares are fair and nobody waits in vain."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.priority import Priority
from tokenworks.gateway.admission.predict import Expected
from tokenworks.gateway.admission.queue import FairQueue
from tokenworks.gateway.admission.ticket import Ticket

STANDARD = Priority.STANDARD


def ticket(
    tenant: str = "a", *, work: float = 10.0, at_s: float = 0.0, allowed_s: float = math.inf, weight: float = 1.0,
    priority: Priority = STANDARD, service_s: float = 1.0, likely_s: float = 1.0,
) -> Ticket:  # fmt: skip
    expected = Expected(work, service_s, likely_s)
    return Ticket(tenant, priority, expected, at_s, at_s + allowed_s, weight)


@dataclass
class Engine:
    """A queue with who holds its slots, and what each was told."""

    queue: FairQueue
    running: list[Ticket] = field(default_factory=list)
    refused: list[Ticket] = field(default_factory=list)
    waiting: list[Ticket] = field(default_factory=list)
    order: list[Ticket] = field(default_factory=list)
    gone: list[Ticket] = field(default_factory=list)  # hung up, and the queue has not heard of it

    def ask(self, asked: Ticket, now_s: float = 0.0) -> None:
        asked.told = lambda granted: self.tell(asked, granted)
        if self.queue.enter(asked):
            self.begin(asked)
        elif self.queue.wait(asked, now_s):
            self.waiting.append(asked)
        else:
            self.refused.append(asked)

    def tell(self, asked: Ticket, granted: bool) -> bool:
        if asked in self.gone:
            return False
        self.waiting.remove(asked)  # raises where one is told twice
        self.begin(asked) if granted else self.refused.append(asked)
        return True

    def begin(self, asked: Ticket) -> None:
        self.running.append(asked)
        self.order.append(asked)

    def end(self, place: int, now_s: float = 0.0, work: float | None = None) -> None:
        ended = self.running.pop(place % len(self.running))
        self.queue.leave(ended, ended.expected.work if work is None else work, now_s)


events = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "end", "end", "give up", "hang up"]),
        st.sampled_from("abc"),
        st.sampled_from(Priority),
        st.floats(0.1, 20),  # work and service
        st.floats(0, 2),  # seconds that pass
        st.sampled_from([3.0, 30.0, math.inf]),
        st.integers(0, 9),
    ),
    max_size=120,
)


@settings(max_examples=200, deadline=None)
@given(events=events, slots=st.integers(1, 4), most=st.integers(1, 12))
def test_slots_are_never_lost_nor_doubled_and_none_is_free_while_anybody_waits(events, slots, most):
    engine, now_s = Engine(FairQueue(slots, most=most)), 0.0
    for what, tenant, priority, size, passed_s, allowed_s, place in events:
        now_s += passed_s
        if what == "ask":
            asked = ticket(
                tenant, work=size, at_s=now_s, allowed_s=allowed_s, priority=priority, service_s=size, likely_s=size
            )
            engine.ask(asked, now_s)
        elif what == "end" and engine.running:
            engine.end(place, now_s, work=size)
        elif what == "give up" and engine.waiting:
            engine.queue.give_up(engine.waiting.pop(place % len(engine.waiting)))
        elif what == "hang up" and engine.waiting:
            engine.gone.append(engine.waiting.pop(place % len(engine.waiting)))
        assert engine.queue.in_flight == len(engine.running) <= slots
        assert len(engine.waiting) <= engine.queue.waiting <= most
        assert not engine.waiting or len(engine.running) == slots
    while engine.running:
        engine.end(0, now_s)
    assert engine.queue.in_flight == engine.queue.waiting == 0
    assert not engine.waiting
    assert all(abs(lines.work_s) < 1e-6 for lines in engine.queue._lines)


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=20, max_size=60),
    weights=st.tuples(st.sampled_from([1.0, 2.0, 5.0]), st.sampled_from([1.0, 2.0, 5.0])),
    slots=st.integers(1, 4),
    ahead=st.integers(0, 30),
    places=st.lists(st.integers(0, 9), min_size=10, max_size=10),
)
def test_two_tenants_that_always_have_work_waiting_get_their_shares(sizes, weights, slots, ahead, places):
    """|W_a/w_a - W_b/w_b| stays within twice the largest request (Sheng et al., theorem 4.4), whoever came first."""
    engine = Engine(FairQueue(slots, most=10**6))
    for number in range(ahead):  # one tenant alone first: that costs it nothing afterwards
        engine.ask(ticket("a", work=sizes[number % len(sizes)][0], weight=weights[0]))
        if len(engine.running) == slots:
            engine.end(0)
    for for_a, for_b in sizes:
        engine.ask(ticket("a", work=for_a, weight=weights[0]))
        engine.ask(ticket("b", work=for_b, weight=weights[1]))
    began, most = len(engine.order), max(max(pair) for pair in sizes)
    got = {"a": 0.0, "b": 0.0}
    number = 0
    while {one.tenant for one in engine.waiting} == {"a", "b"}:
        engine.end(places[number % len(places)])
        number += 1
        for one in engine.order[began:]:
            got[one.tenant] += one.expected.work / one.weight
        began = len(engine.order)
        if {one.tenant for one in engine.waiting} == {"a", "b"}:
            assert abs(got["a"] - got["b"]) <= 2 * most / min(weights)


def test_who_floods_gets_no_more_than_who_does_not():
    engine = Engine(FairQueue(2, most=1000))
    for _ in range(500):
        engine.ask(ticket("flood"))
    for _ in range(20):
        engine.ask(ticket("quiet"))
    began = len(engine.order)
    for _ in range(40):
        engine.end(0)
    turns = [one.tenant for one in engine.order[began:]]
    assert turns.count("quiet") >= 19


def test_what_was_predicted_too_low_is_charged_when_it_is_known():
    engine = Engine(FairQueue(1, most=1000))
    for _ in range(40):
        engine.ask(ticket("long"))
        engine.ask(ticket("short"))
    while any(one.tenant == "long" for one in engine.waiting) and any(one.tenant == "short" for one in engine.waiting):
        engine.end(0, work=90.0 if engine.running[0].tenant == "long" else 10.0)
    turns = [one.tenant for one in engine.order]
    assert turns.count("short") >= 7 * turns.count("long")


def test_an_idle_tenant_saves_nothing_up():
    engine = Engine(FairQueue(1, most=1000))
    engine.ask(ticket("late"))
    engine.end(0)
    for _ in range(50):
        engine.ask(ticket("busy"))
    for _ in range(25):
        engine.end(0)
    for _ in range(20):
        engine.ask(ticket("late"))
    began = len(engine.order)
    for _ in range(20):
        engine.end(0)
    turns = [one.tenant for one in engine.order[began:]]
    assert turns.count("late") in (9, 10, 11)


def test_the_more_urgent_always_goes_first():
    engine = Engine(FairQueue(1))
    for priority in (Priority.FLYWHEEL, Priority.BATCH, Priority.STANDARD, Priority.INTERACTIVE) * 2:
        engine.ask(ticket(priority=priority))
    while engine.running:
        engine.end(0)
    assert [one.priority for one in engine.order[1:]] == sorted(one.priority for one in engine.order[1:])


def test_a_newcomer_that_could_not_be_done_in_time_is_refused_at_once():
    engine = Engine(FairQueue(2))
    for number in range(7):
        engine.ask(ticket(f"t{number}", allowed_s=3.5, priority=Priority.INTERACTIVE))
    assert len(engine.waiting) == 5
    engine.ask(ticket("late", allowed_s=3.4))  # 5 s of more urgent work on 2 slots, and 1 s of its own
    assert [one.tenant for one in engine.refused] == ["late"]


def test_a_tenant_that_fills_the_queue_loses_its_oldest_not_its_newest():
    engine = Engine(FairQueue(1))
    asked = [ticket("a", at_s=number / 10, allowed_s=4.0) for number in range(10)]
    for one in asked:
        engine.ask(one, one.at_s)
    assert engine.refused
    assert engine.refused == asked[1 : 1 + len(engine.refused)]
    assert engine.waiting[-1] is asked[-1]


def test_a_full_queue_takes_from_the_longest_line_of_the_least_urgent():
    engine = Engine(FairQueue(1, most=4))
    engine.ask(ticket())
    batch = [ticket(tenant, priority=Priority.BATCH) for tenant in ("many", "many", "many", "few")]
    for one in batch:
        engine.ask(one)
    engine.ask(ticket("new", priority=Priority.BATCH))
    assert engine.refused == [batch[0]]
    engine.ask(ticket("person", priority=Priority.INTERACTIVE))
    assert engine.refused == batch[:2]
    engine.ask(ticket("factory", priority=Priority.FLYWHEEL))
    assert engine.refused[-1].tenant == "factory"


def test_the_newest_goes_first_only_where_the_line_is_slow():
    for waited_s, expected in ((0.5, 1), (5.0, 3)):
        engine = Engine(FairQueue(1))
        asked = [ticket("a", allowed_s=10.0, service_s=0.1, likely_s=0.1) for _ in range(4)]
        for one in asked:
            engine.ask(one)
        engine.end(0, waited_s)
        assert engine.order[-1] is asked[expected]


def test_what_could_not_end_in_time_is_not_begun():
    engine = Engine(FairQueue(1))
    first, second = ticket(allowed_s=10.0), ticket("b", allowed_s=10.0, likely_s=6.0)
    engine.ask(first)
    engine.ask(second)
    engine.end(0, 4.5)
    assert engine.refused == [second]
    assert engine.queue.in_flight == 0


@pytest.mark.parametrize("tenants", [5000])
def test_counters_of_many_tenants_are_not_kept_for_ever(tenants):
    engine = Engine(FairQueue(1))
    for number in range(tenants):
        engine.ask(ticket(f"tenant-{number}"))
        engine.end(0)
    assert len(engine.queue._lines[STANDARD].counters) <= 4200
