"""The simulation by events beside one that makes every step by itself."""

from __future__ import annotations

import time

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError
from tokenworks.planning.batching import Cost, Scheduler
from tokenworks.planning.simulate import simulate, simulate_callers
from tokenworks.planning.trace import Trace

COST = Cost(
    step_s=tuple(0.01 + 0.0005 * n for n in range(33)),
    context_s=(0.0, *[1e-6] * 32),
    prompt_s=1e-4,
    pair_s=1e-8,
    request_s=0.05,
    answer_s=0.01,
)
SLOWED = msgspec.structs.replace(COST, change_s=0.007, serve_s=0.003)


def every_step(trace, cost, scheduler):
    """Return TTFT and latency of each request, one step of the engine after the other."""
    coming = list(zip(trace.arrival_s, range(len(trace)), trace.prompt, trace.answer, strict=True))
    waiting, reading, running, now, steps, size = [], [], [], 0.0, 0, 0
    first, last = np.zeros(len(trace)), np.zeros(len(trace))
    while coming or waiting or reading or running:
        if not waiting and not reading and not running:
            now = max(now, coming[0][0])
        while coming and coming[0][0] <= now:
            at, number, prompt, answer = coming.pop(0)
            due = steps
            if scheduler.rounds and (waiting or reading or running):
                due += scheduler.rounds + (at >= now)
            waiting.append((number, prompt, answer, due))
        while waiting and len(reading) + len(running) < scheduler.sequences:
            whole = scheduler.keeps == "whole"
            held = sum(p + a * whole for _, p, a, _ in reading) + sum(p + (a if whole else n) for _, p, a, n in running)
            number, prompt, answer, due = waiting[0]
            needed = prompt + (answer if whole else 1)
            if held + needed > scheduler.cache_tokens or (due > steps and (reading or running)):
                break
            waiting.pop(0)
            now += cost.serve_s
            reading.append([number, prompt, answer, 0])
        count = len(running)
        context = sum(prompt + made for _, prompt, _, made in running)
        seconds = cost.step_s[count] + cost.context_s[count] * context
        room, done, tokens = max(scheduler.step_tokens - count, 1), [], count
        for one in reading:
            part = min(one[1] - one[3], room)
            seconds += part * cost.prompt_s + part * (one[3] + part / 2) * cost.pair_s
            one[3] += part
            room -= part
            tokens += part
            if one[3] == one[1]:
                done.append(one)
            if not room:
                break
        now += seconds + cost.change_s * (tokens != size)
        size, steps = tokens, steps + 1
        for one in running:
            one[3] += 1
        for one in done:
            first[one[0]] = now
            reading.remove(one)
            running.append([one[0], one[1], one[2], 1])
        for one in [one for one in running if one[3] == one[2]]:
            last[one[0]] = now
            running.remove(one)
    return first - trace.arrival_s + cost.request_s, last - trace.arrival_s + cost.request_s + cost.answer_s


@given(
    st.lists(st.tuples(st.floats(0, 0.4), st.integers(1, 300), st.integers(1, 60)), min_size=1, max_size=25),
    st.integers(1, 8),
    st.integers(16, 400),
    st.sampled_from([400.0, 1000.0, float("inf")]),
    st.integers(0, 3),
    st.sampled_from([COST, SLOWED]),
    st.sampled_from(["whole", "grown"]),
)
@settings(max_examples=100, deadline=None)
def test_taking_steps_together_changes_nothing(requests, sequences, step_tokens, cache_tokens, rounds, cost, keeps):
    gaps, prompts, answers = zip(*requests, strict=True)
    trace = Trace(np.cumsum(gaps) - gaps[0], np.array(prompts), np.array(answers))
    scheduler = Scheduler(
        sequences=sequences, step_tokens=step_tokens, cache_tokens=cache_tokens, keeps=keeps, rounds=rounds
    )
    found = simulate(trace, cost, scheduler)
    ttft, latency = every_step(trace, cost, scheduler)
    assert found.ttft_s == pytest.approx(ttft, rel=1e-6, abs=1e-9)
    assert found.latency_s == pytest.approx(latency, rel=1e-6, abs=1e-9)


def poisson(count, rate, seed=0):
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.lognormal(5, 1, count).astype(int) + 1, 2000)
    return Trace(np.cumsum(rng.exponential(1 / rate, count)), lengths, np.minimum(lengths, 200))


def test_more_replicas_wait_less_and_are_used_less():
    one, four = (simulate(poisson(2000, 8), COST, Scheduler(), count) for count in (1, 4))
    assert four.percentile("ttft_s", 0.95) < one.percentile("ttft_s", 0.95)
    assert four.utilisation < one.utilisation


def test_many_replicas_are_as_good_as_their_share_of_the_requests():
    eight, sixty_four = (
        simulate(poisson(8000, 30), COST, Scheduler(), 8),
        simulate(poisson(64_000, 240), COST, Scheduler(), 64),
    )
    assert sixty_four.percentile("tpot_s", 0.5) == pytest.approx(eight.percentile("tpot_s", 0.5), rel=0.1)
    assert sixty_four.tokens_per_s == pytest.approx(8 * eight.tokens_per_s, rel=0.1)


def test_a_hundred_thousand_requests_need_no_patience():
    trace = poisson(100_000, 8)
    began = time.process_time()
    found = simulate(trace, COST, Scheduler(sequences=32))
    seconds = time.process_time() - began
    # Each step by itself is several hundred times as many events as there are requests.
    assert len(found.ttft_s) == 100_000
    assert seconds < found.busy_s / 100


def test_a_request_that_fits_nowhere_is_refused():
    with pytest.raises(ConfigError, match="a request of 1001 tokens does not fit"):
        simulate(Trace(np.zeros(1), np.array([1000]), np.array([1])), COST, Scheduler(cache_tokens=1000))


def test_no_replica_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        simulate(poisson(10, 1), COST, Scheduler(), 0)


def alone(prompt, answer, count=1):
    return Trace(np.zeros(count), np.full(count, prompt), np.full(count, answer))


def test_a_caller_asks_again_when_it_is_answered():
    found = simulate_callers(alone(100, 20, count=3), COST, Scheduler(), callers=1)
    once = simulate(alone(100, 20), COST, Scheduler())
    assert found.latency_s == pytest.approx([float(once.latency_s[0])] * 3)
    assert found.end_s == pytest.approx(3 * once.end_s + 2 * COST.answer_s)


def test_more_callers_than_seats_wait_for_one():
    found = simulate_callers(alone(100, 20, count=4), COST, Scheduler(sequences=2), callers=4)
    assert sorted(found.ttft_s)[2] > max(sorted(found.ttft_s)[:2])


def test_the_way_into_a_busy_batch_costs_its_steps():
    asked = Trace(np.array([0.0, 0.2]), np.array([100, 100]), np.array([200, 20]))
    free, late = (simulate(asked, COST, Scheduler(rounds=rounds)) for rounds in (0, 3))
    steps = COST.step_s[1] + COST.context_s[1] * 120
    assert late.ttft_s[1] - free.ttft_s[1] == pytest.approx(3 * steps, rel=0.01)
    assert late.ttft_s[0] == free.ttft_s[0]


def test_a_step_like_the_one_before_is_prepared_already():
    cost = msgspec.structs.replace(COST, change_s=1.0)
    prompt, decode, further = (simulate(alone(100, n), cost, Scheduler()).end_s for n in (1, 2, 50))
    assert prompt > 1.0
    assert decode - prompt > 1.0
    assert further - decode < 1.0


def test_nobody_asks_with_no_caller():
    with pytest.raises(ConfigError, match="at least one must ask"):
        simulate_callers(alone(10, 10), COST, Scheduler(), callers=0)
