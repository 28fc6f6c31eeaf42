"""From the meter to a request's joules, over a real page, with a clock turned by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.usage import Spent
from tokenworks.ledger.entries import EnergyEntry
from tokenworks.metering.money.energy import Metering, energy_of
from tokenworks.metering.money.metered import metered_hours
from tokenworks.metering.money.month import month_of


def steady(machine: Any, seconds: int = 5) -> None:
    """Let the meter see an engine at work, so that it knows what a second costs."""
    work = machine.account.begin()
    for _ in range(seconds):
        machine.step(1.0, work)
        machine.meterer.turn()
    work.tell()
    work.close()
    machine.meterer.entry(0.0)


def test_a_request_under_steady_load_is_given_what_was_metered(machine: Any) -> None:
    steady(machine)
    work = machine.account.begin()
    machine.step(0.4, work)
    spent = work.tell()
    assert spent.engine_s == pytest.approx(0.4)
    assert spent.joules == pytest.approx(0.4 * 150, rel=0.01)
    assert spent.meter == "rapl"
    assert 0.05 <= spent.joules_error < 0.2


def test_those_who_share_a_step_share_its_joules(machine: Any) -> None:
    steady(machine)
    one, other = machine.account.begin(), machine.account.begin()
    machine.step(0.4, one, other)
    machine.step(0.2, other)
    joules = [work.tell().joules for work in (one, other)]
    assert joules == pytest.approx([30.0, 60.0], rel=0.02)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0.01, 0.3), st.floats(60, 400), st.booleans()), min_size=1, max_size=30))
def test_steps_that_are_split_later_come_to_the_same(
    new_machine: Callable[..., Any], steps: list[tuple[float, float, bool]]
) -> None:
    told = []
    for name in ("step", "held_step"):
        machine = new_machine(f"{name}-{time.monotonic_ns()}")
        steady(machine)
        works = [machine.account.begin(), machine.account.begin()]
        for seconds, watts, over in steps:
            getattr(machine, name)(seconds, *works, watts=watts)
            if over:  # a span ends between two steps
                machine.meterer.turn()
        machine.account.share_held()
        told.append([(work.tell().engine_s, work.tell().joules) for work in works])
    assert told[0] == [pytest.approx(each) for each in told[1]]


def test_a_long_request_is_settled_by_the_span_and_not_by_what_was_foreseen(machine: Any) -> None:
    steady(machine)
    work = machine.account.begin()
    machine.step(1.0, work, watts=450.0)
    machine.meterer.turn()
    assert work.tell().joules == pytest.approx(450, rel=0.01)
    assert work.tell().joules_error == pytest.approx(0.05, abs=0.01)


def test_before_anything_was_metered_joules_are_not_known(machine: Any) -> None:
    work = machine.account.begin()
    machine.step(0.5, work)
    assert work.tell() == Spent(engine_s=pytest.approx(0.5), meter="gap")


def test_idle_time_is_a_line_of_its_own(machine: Any) -> None:
    work = machine.account.begin()
    machine.step(1.0, work)
    machine.idle(3.0)
    machine.meterer.turn()
    entry = machine.meterer.entry(1.0)
    assert entry.metered_j == pytest.approx(300)
    assert entry.idle_j == pytest.approx(225)  # without a calibration all goes by time
    assert entry.metered_j == pytest.approx(entry.idle_j + entry.other_j + entry.requests_j)
    assert (entry.seconds, entry.engine_s) == (pytest.approx(4.0), pytest.approx(1.0))


def test_with_the_idle_power_known_only_that_is_idle(new_machine: Callable[..., Any]) -> None:
    machine = new_machine(idle_w=50.0)
    work = machine.account.begin()
    machine.step(1.0, work)
    machine.idle(3.0)
    machine.meterer.turn()
    assert machine.meterer.entry(1.0).idle_j == pytest.approx(150)


def test_a_step_under_way_counts_up_to_the_reading(machine: Any) -> None:
    work = machine.account.begin()
    began_s = machine.account.enter()
    machine.idle(2.0, 150.0)
    machine.meterer.turn()
    assert machine.meterer.entry(1.0).engine_s == pytest.approx(2.0)
    machine.idle(1.0, 150.0)
    machine.account.leave(began_s, lambda seconds: [(work, seconds)])
    machine.meterer.turn()
    assert machine.meterer.entry(1.0).engine_s == pytest.approx(1.0)


def test_a_meter_that_vanishes_leaves_requests_without_joules_and_loses_no_energy(machine: Any) -> None:
    steady(machine)
    machine.counter.gone = True
    for _ in range(5):
        work = machine.account.begin()
        machine.step(1.0, work)
        machine.meterer.turn()
        last = work.tell()
        work.close()
    assert last == Spent(engine_s=pytest.approx(1.0), meter="gap")
    assert machine.meterer.trouble == "the plug does not answer"
    gone = machine.meterer.entry(1.0)
    assert (gone.metered_j, gone.because) == (0.0, "the plug does not answer")
    assert gone.waiting_s == pytest.approx(5.0)
    machine.counter.gone = False
    machine.step(1.0, machine.account.begin())
    machine.meterer.turn()
    back = machine.meterer.entry(1.0)
    assert back.metered_j == pytest.approx(6 * 150)
    assert back.untold_j > 0  # of the requests that could not be told


def test_a_counter_that_jumps_back_is_a_gap_on_the_ledger(machine: Any) -> None:
    steady(machine)
    machine.counter.says = 1.0
    work = machine.account.begin()
    machine.step(1.0, work)
    machine.meterer.turn()
    entry = machine.meterer.entry(1.0)
    assert (entry.metered_j, entry.gap_s) == (0.0, pytest.approx(1.0))
    assert "jumped back" in entry.because
    assert work.tell().joules is None


def test_not_a_number_is_no_reading(machine: Any) -> None:
    steady(machine)
    machine.counter.says = float("nan")
    machine.step(1.0, machine.account.begin())
    machine.meterer.turn()
    assert "nan" in machine.meterer.trouble
    machine.counter.says = None
    machine.idle(1.0)
    machine.meterer.turn()
    assert machine.meterer.entry(1.0).metered_j == pytest.approx(200)  # nothing was lost


def test_a_counter_with_coarse_ticks_is_waited_for(machine: Any) -> None:
    steady(machine)
    machine.counter.says = machine.counter.joules
    for _ in range(20):
        work = machine.account.begin()
        machine.step(1.0, work)
        machine.meterer.turn()
        assert work.tell().joules == pytest.approx(150, rel=0.02)
        work.close()
    machine.counter.says = None
    machine.meterer.turn()
    entry = machine.meterer.entry(1.0)
    assert entry.gap_s == 0
    assert entry.metered_j == pytest.approx(20 * 150)


def test_a_counter_that_stands_still_for_minutes_is_broken(machine: Any) -> None:
    steady(machine)
    machine.counter.says = machine.counter.joules
    for _ in range(13):
        machine.idle(10.0)
        machine.meterer.turn()
    assert "stands still" in machine.meterer.entry(1.0).because


def test_an_answer_broken_off_is_told_on_the_ledger_alone(machine: Any) -> None:
    steady(machine)
    work = machine.account.begin()
    machine.step(1.0, work)
    work.close()
    machine.meterer.turn()
    assert machine.meterer.entry(1.0).untold_j == pytest.approx(150, rel=0.02)


def test_what_an_engine_that_died_had_not_given_is_told_on_the_ledger(machine: Any) -> None:
    steady(machine)
    machine.step(1.0, machine.account.begin())
    machine.account.close()  # the kernel lets go of the lock as for a process that was killed
    machine.meterer.turn()
    entry = machine.meterer.entry(1.0)
    assert entry.requests_j == pytest.approx(150)
    assert entry.untold_j == pytest.approx(150, rel=0.05)
    assert not list(machine.folder.iterdir())


def test_a_page_of_a_former_life_is_taken_away(machine: Any) -> None:
    left = machine.folder / "engine-old.engine"
    left.write_bytes(bytes(256))
    machine.idle(1.0)
    machine.meterer.turn()
    assert not left.exists()


EVENTS = st.one_of(
    st.tuples(st.just("idle"), st.floats(0.01, 3.0), st.floats(10, 400)),
    st.tuples(st.just("step"), st.floats(0.001, 1.5), st.floats(10, 400)),
    st.tuples(st.just("begin"), st.just(0.0), st.just(0.0)),
    st.tuples(st.sampled_from(["told", "broken"]), st.integers(0, 5), st.just(0.0)),
    st.tuples(st.just("read"), st.just(0.0), st.just(0.0)),
    st.tuples(st.just("nan"), st.just(0.0), st.just(0.0)),
    st.tuples(st.just("jump"), st.just(0.0), st.just(0.0)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, max_size=60), idle_w=st.sampled_from([0.0, 8.0]))
def test_whatever_happens_requests_and_idle_are_what_was_metered(
    new_machine: Callable[..., Any], events: list[Any], idle_w: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    machine = new_machine(tmp_path_factory.mktemp("machine").name, idle_w=idle_w)
    told, entries = play(machine, events)
    close_to = {"rel": 1e-3, "abs": 1e-6}
    for entry in entries:
        assert entry.idle_j + entry.other_j + entry.requests_j == pytest.approx(entry.metered_j, **close_to)
        assert min(entry.idle_j, entry.other_j, entry.requests_j) >= 0
    given_j = sum(told) + sum(entry.untold_j for entry in entries)
    assert given_j == pytest.approx(sum(entry.requests_j for entry in entries), **close_to)
    assert all(joules >= 0 for joules in told)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, max_size=60))
def test_whatever_happens_the_months_energy_adds_up_too(
    new_machine: Callable[..., Any], events: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    told, entries = play(new_machine(tmp_path_factory.mktemp("machine").name), events)
    month = month_of("2026-10")
    read = [msgspec.structs.replace(entry, at=month.begin + 900.0 * (at + 1)) for at, entry in enumerate(entries)]
    hours, doubtful = metered_hours(read, month)
    assert doubtful == 0
    told_uj = sum(round(joules * 1e6) for joules in told)
    found = energy_of(Metering(hours), month, told_uj=told_uj, until=month.end)
    assert found is not None
    assert found.requests_uj + found.other_uj + found.idle_uj == found.metered_uj
    assert found.metered_uj == pytest.approx(1e6 * sum(entry.metered_j for entry in entries), abs=5.0 * len(entries))
    assert abs(found.unsettled_uj) <= 1e-3 * found.metered_uj + 2.0 * (len(told) + len(entries))
    assert found.gap_s == pytest.approx(sum(entry.gap_s for entry in entries), abs=1e-5 * len(entries))


def play(machine: Any, events: list[Any]) -> tuple[list[float], list[EnergyEntry]]:
    """Let it happen; return the joules of the requests that were told, and what stands on the ledger."""
    works, told, entries = [], [], []

    def end(at: int, telling: bool) -> None:
        work = works.pop(at % len(works))
        if telling:
            told.append(work.tell().joules or 0.0)
        work.close()

    for kind, amount, watts in events:
        if kind == "idle":
            machine.idle(amount, watts)
        elif kind == "begin":
            works.append(machine.account.begin())
        elif kind == "step" and works:
            machine.step(amount, *works, watts=watts)
        elif kind in ("told", "broken") and works:
            end(amount, kind == "told")
        elif kind == "nan":
            machine.counter.says = float("nan")
            machine.meterer.turn()
            machine.counter.says = None
        elif kind == "jump":
            machine.counter.joules = 0.0
        elif kind == "read":
            machine.meterer.turn()
            entries.append(machine.meterer.entry(0.0))
    while works:
        end(0, True)
    machine.account.close()
    machine.meterer.close()
    return told, [*entries, machine.meterer.entry(0.0)]


def test_the_sums_of_many_short_requests_under_uneven_load_agree(machine: Any) -> None:
    """Short requests are given what was foreseen; what that misses must not grow."""
    steady(machine)
    told, due_j, metered_j = 0.0, 0.0, 0.0
    for number in range(400):
        busy_s, watts = (0.8, 150.0) if number % 2 else (0.2, 300.0)
        for _ in range(10):
            work = machine.account.begin()
            machine.step(busy_s / 10, work, watts=watts)
            told += work.tell().joules or 0.0
            work.close()
        machine.idle(1 - busy_s)
        machine.meterer.turn()
        entry = machine.meterer.entry(0.0)
        due_j, metered_j = due_j + entry.requests_j, metered_j + entry.metered_j
    assert told == pytest.approx(due_j, rel=0.01)
    assert abs(entry.carried_j) < 0.002 * metered_j


def test_the_pages_folder_may_not_exist_yet(tmp_path: Path, new_machine: Callable[..., Any]) -> None:
    machine = new_machine("not/yet")
    machine.idle(1.0)
    machine.meterer.turn()
    assert machine.meterer.entry(0.0).metered_j == pytest.approx(50)
