"""The cost of steps from measurements."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tokenworks.core.errors import DataError
from tokenworks.planning.batching import Cost, Scheduler
from tokenworks.planning.fitting import Decoded, Ended, Joined, Read, fit, slowed
from tokenworks.planning.simulate import simulate
from tokenworks.planning.trace import Trace


def measured(slope=2e-6, step=(0.01, 0.0005), alone=0.008, prompt=1e-4, pair=1e-8):
    decoded = [
        Decoded(running=n, context=context, step_s=step[0] + step[1] * n + slope * n * context)
        for n, context in ((1, 60), (4, 60), (8, 60), (4, 1000))
    ]
    read = [Read(tokens=n, ttft_s=alone + prompt * n + pair * n**2 / 2) for n in (16, 128, 512, 1024)]
    return decoded, read


def test_a_known_cost_is_found_again():
    found = fit(*measured(), most=16)
    assert found.error < 1e-6
    assert found.cost.context_s[4] == pytest.approx(2e-6)
    assert found.cost.prompt_s == pytest.approx(1e-4)
    assert found.cost.pair_s == pytest.approx(1e-8)
    assert found.cost.step_s[6] == pytest.approx(0.01 + 0.0005 * 6)
    assert found.cost.step_s[16] == pytest.approx(0.01 + 0.0005 * 16)
    assert found.cost.step_s[0] + found.cost.serve_s == pytest.approx(0.008)


def test_no_figure_of_a_fit_is_negative():
    decoded, read = measured(slope=-1e-6, pair=0.0)
    cost = fit(decoded, read, most=8).cost
    assert min(*cost.step_s, *cost.context_s, cost.prompt_s, cost.pair_s, cost.serve_s) >= 0


def test_too_little_is_refused():
    decoded, read = measured()
    with pytest.raises(DataError, match="too little was measured"):
        fit(decoded[:1], read, most=8)


TRUE = Cost(
    step_s=(0.003, *(0.01 + 0.0005 * n for n in range(1, 33))),
    context_s=(0.0, *[2e-6] * 32),
    prompt_s=1e-4,
    pair_s=1e-8,
    change_s=0.004,
    serve_s=0.002,
)
SCHEDULER = Scheduler(step_tokens=256, rounds=2)


def probed(cost=TRUE, scheduler=SCHEDULER):
    """Return what the loads of a calibration show of an engine that is the simulation with `cost`."""
    rng = np.random.default_rng(0)

    def lone_s(tokens):
        return float(simulate(Trace(np.zeros(1), np.array([tokens]), np.array([1])), cost, scheduler).ttft_s[0])

    def joined_s(running, prompt, tokens, at_s):
        came = np.array([*[0.0] * running, at_s])
        lengths = np.array([*[prompt] * running, tokens])
        return simulate(Trace(came, lengths, np.array([*[400] * running, 1])), cost, scheduler).ttft_s[-1]

    def step_s(running, context):
        return cost.step_s[running] + cost.context_s[running] * running * context

    decoded = [
        Decoded(running=n, context=context, step_s=step_s(n, context))
        for n in (1, 2, 4, 8, 16, 32)
        for context in ((70, 1000) if n in (1, 4, 16) else (70,))
    ]
    read = [Read(tokens=n, ttft_s=lone_s(n)) for n in (16, 64, 128, 240, 272, 496, 528, 1008)]
    apart_s = 7 * cost.change_s + sum(2 * step_s(n, 32) for n in range(1, 8))
    ended = [Ended(running=8, apart=2, context=32, more_s=apart_s)]
    joined = [
        Joined(running=n, context=prompt + 150, tokens=64, ttft_s=joined_s(n, prompt, 64, 2 + rng.random()))
        for n, prompt in ((4, 16), (16, 256))
        for _ in range(20)
    ]
    return decoded, read, ended, joined


def test_what_steps_wait_for_is_found_again():
    decoded, read, ended, joined = probed()
    found = fit(decoded, read, 32, step_tokens=256, ended=ended, joined=joined)
    assert found.cost.change_s == pytest.approx(TRUE.change_s, rel=0.01)
    assert found.cost.serve_s == pytest.approx(TRUE.serve_s, rel=0.05)
    assert found.cost.step_s[0] == pytest.approx(TRUE.step_s[0], rel=0.05)
    assert found.cost.prompt_s == pytest.approx(TRUE.prompt_s, rel=0.01)
    assert found.rounds == 2


@pytest.mark.parametrize("rounds", [0, 1, 4])
def test_the_way_into_a_batch_is_counted_in_steps(rounds):
    decoded, read, ended, joined = probed(scheduler=Scheduler(step_tokens=256, rounds=rounds))
    assert fit(decoded, read, 32, step_tokens=256, ended=ended, joined=joined).rounds == rounds


def test_one_slow_load_among_several_changes_nothing():
    decoded, read, ended, joined = probed()
    slow = [msgspec.structs.replace(ended[0], more_s=10.0)]
    found = fit(decoded, read, 32, step_tokens=256, ended=ended * 2 + slow, joined=joined)
    assert found.cost.change_s == pytest.approx(TRUE.change_s, rel=0.01)


def test_tokens_of_the_past_cost_what_was_measured_with_as_many_sequences():
    decoded, read = measured()
    more = [Decoded(running=1, context=1000, step_s=0.02)]
    cost = fit([*decoded, *more], read, most=8).cost
    assert cost.context_s[1] > cost.context_s[4]
    assert cost.context_s[1] > cost.context_s[2] > cost.context_s[4]
    assert cost.context_s[8] == cost.context_s[4]


def test_what_medians_forget_is_in_the_sum_of_all_loads():
    decoded, read, ended, joined = probed()
    found = fit(decoded, read, 32, step_tokens=256, ended=ended, joined=joined)
    slow = slowed(found, took_s=110.0, predicted_s=100.0)
    load = Trace(np.linspace(0, 3, 20), np.full(20, 300), np.full(20, 50))
    once, again = (simulate(load.faster(speed), one.cost, SCHEDULER) for speed, one in ((1.0, found), (1 / 1.1, slow)))
    assert again.latency_s == pytest.approx(once.latency_s * 1.1)
    assert slow.slowed == pytest.approx(1.1)


def test_no_machine_is_faster_than_its_medians():
    decoded, read = measured()
    found = fit(decoded, read, most=8)
    assert slowed(found, took_s=80.0, predicted_s=100.0) == found
