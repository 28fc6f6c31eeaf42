"""A server elsewhere under its host's meter, in simulated time: sums, others' work, and all that fails."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.attribution.coarse.far_server import IDLE_W, MORE_W, Asked, Elsewhere, given_j
from tokenworks.core.usage import Usage
from tokenworks.ledger.entries import FarEnergyEntry
from tokenworks.ledger.metered import is_sound

BUSY_W = IDLE_W + MORE_W


def load(
    elsewhere: Elsewhere,
    seconds: float,
    *,
    rate: float = 4.0,
    foreign: float = 0.0,
    streamed: bool = True,
    seed: int = 3,
) -> list[Asked]:
    """Let requests come by chance for some time, and return them all when they are answered."""
    rng = random.Random(seed)
    next_s = [elsewhere.now_s]
    asked = []

    def arrives(now_s: float) -> None:
        while now_s >= next_s[0]:
            next_s[0] += rng.expovariate(rate)
            ours = rng.random() >= foreign
            asked.append(elsewhere.ask(rng.randint(20, 900), rng.randint(5, 90), ours=ours, streamed=streamed))

    elsewhere.run(seconds, arrives)
    elsewhere.finish()
    return asked


def conserved(entry: FarEnergyEntry) -> bool:
    parts_j = entry.requests_j + entry.foreign_j + entry.idle_j + entry.other_j
    return parts_j == pytest.approx(entry.metered_j, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("streamed", [True, False])
def test_requests_get_what_their_steps_took_and_nothing_is_foreign(elsewhere: Elsewhere, streamed: bool) -> None:
    asked = load(elsewhere, 60, streamed=streamed)
    entry = elsewhere.entry()
    assert conserved(entry)
    assert is_sound(entry)
    exact_s = sum(one.exact_s for one in asked)
    assert entry.engine_s == pytest.approx(exact_s, rel=0.02)
    assert entry.foreign_s < 0.01 * exact_s
    assert entry.requests_j == pytest.approx(BUSY_W * exact_s, rel=0.02)
    assert entry.idle_j == pytest.approx(IDLE_W * (entry.seconds - elsewhere.busy_s), rel=0.1)
    assert given_j(asked) == pytest.approx(entry.requests_j - entry.untold_j - entry.carried_j, rel=1e-6)
    assert abs(entry.carried_j) < 0.03 * entry.requests_j
    assert {one.spent.meter for one in asked if one.spent and one.spent.joules is not None} == {"coarse-wall"}


def test_a_long_request_beside_short_ones_is_given_what_single_steps_would_give_it(elsewhere: Elsewhere) -> None:
    load(elsewhere, 40, rate=2.0)  # to learn from
    long = elsewhere.ask(200, 600)
    load(elsewhere, 10, rate=2.0, seed=4)
    assert long.spent
    assert long.spent.engine_s == pytest.approx(long.exact_s, rel=0.15)
    assert long.spent.joules == pytest.approx(BUSY_W * long.exact_s, rel=0.2)
    assert 0 < long.spent.joules_error < 0.6


@pytest.mark.parametrize("streamed", [True, False])
def test_what_others_asked_there_is_a_line_of_its_own(elsewhere: Elsewhere, streamed: bool) -> None:
    asked = load(elsewhere, 60, foreign=0.4, streamed=streamed)
    entry = elsewhere.entry()
    assert conserved(entry)
    theirs = [one for one in asked if one.work is None]
    assert entry.foreign_completion_tokens == pytest.approx(sum(one.wanted for one in theirs), rel=0.02)
    assert entry.foreign_prompt_tokens == pytest.approx(sum(one.prompt for one in theirs), rel=0.02)
    assert entry.foreign_s == pytest.approx(sum(one.exact_s for one in theirs), rel=0.25)  # seen at the looks alone
    assert entry.engine_s == pytest.approx(sum(one.exact_s for one in asked if one.work), rel=0.15)


def test_a_server_that_works_for_others_alone_charges_nobody_here(elsewhere: Elsewhere) -> None:
    asked = load(elsewhere, 20, foreign=1.0)
    entry = elsewhere.entry()
    assert (entry.requests_j, entry.engine_s) == (0.0, 0.0)
    assert entry.foreign_j == pytest.approx(BUSY_W * sum(one.exact_s for one in asked), rel=0.15)
    assert conserved(entry)


def test_an_idle_server_is_idle(elsewhere: Elsewhere) -> None:
    elsewhere.run(10)
    entry = elsewhere.entry()
    assert entry.idle_j == pytest.approx(entry.metered_j)
    assert entry.metered_j == pytest.approx(IDLE_W * entry.seconds)


def test_two_gateways_ask_the_same_server_and_one_of_them_dies(elsewhere: Elsewhere) -> None:
    other = elsewhere.gateway()
    load(elsewhere, 20)
    theirs = [elsewhere.ask(100, 30, by=other) for _ in range(3)]
    elsewhere.run(1)
    dropped = elsewhere.ask(100, 200, by=other)
    elsewhere.run(0.3)
    other.close()  # as the system does when its process ends
    dropped.work = None
    elsewhere.finish()
    entry = elsewhere.entry()
    assert all(one.spent and one.spent.joules for one in theirs)
    assert entry.untold_j > 0  # of the one that nobody was told of
    assert conserved(entry)
    assert len(list(elsewhere.folder.glob("*.asking"))) == 1


def test_counters_that_begin_anew_are_noted_and_requests_still_get_their_share(elsewhere: Elsewhere) -> None:
    load(elsewhere, 20)
    elsewhere.entry()
    elsewhere.ask(100, 60)
    elsewhere.run(0.3)
    elsewhere.page.begin_anew()
    elsewhere.finish()
    entry = elsewhere.entry()
    assert "began anew" in entry.because
    assert entry.requests_j > 0
    assert conserved(entry)


def test_a_page_that_vanishes_gives_no_joules_and_loses_none(elsewhere: Elsewhere) -> None:
    load(elsewhere, 20)
    elsewhere.page.gone = True
    before_j = elsewhere.register.joules
    lost = load(elsewhere, 8, seed=5)
    assert "does not answer" in elsewhere.meterer.trouble
    assert lost[-1].spent
    assert (lost[-1].spent.meter, lost[-1].spent.joules) == ("gap", None)
    elsewhere.page.gone = False
    load(elsewhere, 5, seed=6)
    assert not elsewhere.meterer.trouble
    entry = elsewhere.entry()
    assert conserved(entry)
    assert entry.metered_j > before_j  # what was drawn meanwhile is in it
    assert entry.untold_j > 0  # due to requests that were told nothing


@pytest.mark.parametrize("says", [float("nan"), 1.0])
def test_a_meter_that_says_nonsense_is_a_gap_and_never_a_wrong_sum(elsewhere: Elsewhere, says: float) -> None:
    load(elsewhere, 20)
    elsewhere.entry()
    elsewhere.register.says = says
    asked = load(elsewhere, 8, seed=5)
    assert asked[-1].spent
    # A counter that stands still is waited for, and what was foreseen holds on; one that says nothing is not.
    assert asked[-1].spent.meter == ("coarse-wall" if says == 1.0 else "gap")
    elsewhere.register.says = None
    load(elsewhere, 5, seed=6)
    entry = elsewhere.entry()
    assert conserved(entry)
    assert entry.gap_s > 0 or says != 1.0
    assert entry.metered_j <= elsewhere.register.joules


def test_an_answer_that_is_broken_off_is_charged_what_was_seen_of_it(elsewhere: Elsewhere) -> None:
    load(elsewhere, 20)
    elsewhere.finish()
    elsewhere.entry()
    asked = elsewhere.ask(400, 50)
    elsewhere.run(0.2)
    assert asked.work
    spent = asked.work.tell(Usage(completion_tokens=asked.written))
    elsewhere.batch.remove(asked)
    assert spent.joules
    assert asked.work.tell(Usage(completion_tokens=99)) is spent
    elsewhere.finish()
    assert elsewhere.entry().foreign_completion_tokens <= 1


def test_an_attempt_that_failed_claims_nothing(elsewhere: Elsewhere) -> None:
    load(elsewhere, 10)
    elsewhere.entry()
    elsewhere.account.begin("there", 1000).drop()
    elsewhere.run(3)
    entry = elsewhere.entry()
    assert (entry.completion_tokens, entry.foreign_completion_tokens) == (0, 0)
    assert conserved(entry)


def test_more_requests_at_once_than_there_are_slots_are_told_nothing(elsewhere: Elsewhere) -> None:
    load(elsewhere, 5)
    works = [elsewhere.account.begin("there", 10) for _ in range(2048)]
    assert elsewhere.account.begin("there", 10).tell(Usage(prompt_tokens=3)).meter == "gap"
    assert elsewhere.account.slots.missed == 1
    for work in works:
        work.drop()
    elsewhere.run(2)
    assert elsewhere.account.begin("there", 10).tell(Usage(prompt_tokens=3)).meter == "coarse-wall"


def test_a_meter_that_moves_every_quarter_of_a_minute_does_not_make_the_split_as_coarse(elsewhere: Elsewhere) -> None:
    ticking = elsewhere.register
    ticking.tick_s, ticking.clock = 15.0, elsewhere.clock
    load(elsewhere, 60, rate=2.0)
    long = elsewhere.ask(200, 600)
    load(elsewhere, 30, rate=2.0, seed=4)
    elsewhere.run(30)
    assert long.spent
    assert long.spent.engine_s == pytest.approx(long.exact_s, rel=0.15)
    assert long.spent.joules == pytest.approx(BUSY_W * long.exact_s, rel=0.3)
    entry = elsewhere.entry()
    assert conserved(entry)
    assert entry.engine_s == pytest.approx(sum(one.exact_s for one in elsewhere.every), rel=0.02)
    assert entry.waiting_s < 20


def test_the_last_entry_of_a_server_that_ends_has_everything(elsewhere: Elsewhere) -> None:
    load(elsewhere, 5)
    elsewhere.ask(50, 4000)
    elsewhere.run(3)
    elsewhere.account.close()
    elsewhere.meterer.close()
    entry = elsewhere.entry()
    assert conserved(entry)
    assert entry.metered_j == pytest.approx(elsewhere.register.joules, rel=0.02)
    assert not list(elsewhere.folder.glob("*.asking"))


happenings = st.lists(
    st.tuples(
        st.sampled_from(["ours", "whole", "theirs", "run", "page", "meter", "anew", "entry", "die"]),
        st.integers(0, 400),
        st.integers(1, 60),
    ),
    min_size=4,
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings, st.sampled_from([0.3, 1.0]))
def test_whatever_happens_the_lines_add_up_to_the_meter(
    elsewhere_every: Callable[[float], Elsewhere], happenings: list[tuple[str, int, int]], interval_s: float
) -> None:
    elsewhere = elsewhere_every(interval_s)
    entries = []
    for what, prompt, wanted in happenings:
        if what in ("ours", "whole", "theirs"):
            elsewhere.ask(prompt, wanted, ours=what != "theirs", streamed=what == "ours")
        elif what == "page":
            elsewhere.page.gone = not elsewhere.page.gone
        elif what == "meter":
            elsewhere.register.gone = not elsewhere.register.gone
        elif what == "anew":
            elsewhere.page.begin_anew()
        elif what == "entry":
            entries.append(elsewhere.entry())
        elif what == "die":
            for one in elsewhere.batch:
                one.work = None
            elsewhere.account.close()
            elsewhere.account = elsewhere.gateway()
        elsewhere.run(wanted / 30)
    elsewhere.page.gone = elsewhere.register.gone = False
    elsewhere.finish()
    elsewhere.account.close()
    elsewhere.meterer.close()
    entries.append(elsewhere.entry())
    assert all(is_sound(entry) for entry in entries)
    assert sum(entry.metered_j for entry in entries) == pytest.approx(elsewhere.register.joules, rel=0.2)
    parts_j = sum(one.requests_j + one.foreign_j + one.idle_j + one.other_j for one in entries)
    assert parts_j == pytest.approx(sum(one.metered_j for one in entries), rel=1e-3)
    due_j = sum(one.requests_j - one.untold_j for one in entries) - entries[-1].carried_j
    assert given_j(elsewhere.every) == pytest.approx(due_j, rel=1e-3, abs=1e-3)
