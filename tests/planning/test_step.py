"""How long a step takes: what must hold of any machine, and measured points nobody fitted."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError
from tokenworks.planning.calibration import UNCALIBRATED, Point, calibrate
from tokenworks.planning.machine import weight_bits
from tokenworks.planning.step import Deployment, decode_s, prefill_s, tpot_s
from tokenworks.planning.tables import read_tables

TABLES = read_tables()
MODELS = sorted(TABLES.models)


def deployment(model="llama-3.1-8b", machine="h100", **changes):
    return Deployment(model=TABLES.model(model), machine=TABLES.machine(machine), **changes)


# Measured by ML.ENERGY v3 (H100 80 GB, vLLM, BF16, chat): the economics page, 3.2. Not among the rows of the choice.
ANCHORS = [
    ("llama-3.1-8b", 1, 8, 1070), ("llama-3.1-8b", 1, 64, 5147), ("llama-3.1-70b", 4, 8, 465),
    ("llama-3.1-70b", 4, 64, 2564), ("llama-3.1-70b", 4, 256, 5130), ("gpt-oss-20b", 1, 64, 5513),
]  # fmt: skip


def test_points_that_nobody_fitted_are_met_within_the_error_that_is_stated():
    def predicted(model, devices, batch):
        precision = "fp4" if model.startswith("gpt") else "bf16"
        return batch / float(tpot_s(deployment(model, tensor=devices, precision=precision), batch, 150, 400))

    errors = [abs(predicted(*point) / measured - 1) for *point, measured in ANCHORS]
    assert np.median(errors) <= UNCALIBRATED
    assert max(errors) <= 0.4  # the engine of these rows is a year older than that of the constants


@given(st.sampled_from(MODELS), st.integers(1, 500), st.integers(1, 500), st.integers(16, 30_000))
def test_more_sequences_never_make_a_step_shorter_nor_a_token_of_the_batch_dearer(model, batch, more, context):
    of = deployment(model, "b200", precision="fp8")
    one, two = float(decode_s(of, batch, context)), float(decode_s(of, batch + more, context))
    assert two >= one
    assert two / (batch + more) <= one / batch * 1.0001


@given(st.sampled_from(MODELS), st.integers(1, 200), st.integers(1, 20_000), st.integers(0, 20_000))
def test_a_longer_past_never_makes_a_step_shorter(model, batch, context, more):
    of = deployment(model, "h200", precision="fp8")
    assert decode_s(of, batch, context + more) >= decode_s(of, batch, context)


@given(st.sampled_from(MODELS), st.integers(1, 64), st.integers(100, 8000), st.floats(1.0, 10.0))
def test_a_faster_memory_never_makes_a_step_longer(model, batch, context, factor):
    of = deployment(model)
    machine = msgspec.structs.replace(of.machine, bandwidth_tb_s=of.machine.bandwidth_tb_s * factor)
    assert decode_s(msgspec.structs.replace(of, machine=machine), batch, context) <= decode_s(of, batch, context)


PLAIN = [name for name in MODELS if not TABLES.models[name].sparse_tokens and not TABLES.models[name].window]


@given(st.sampled_from(PLAIN), st.integers(1, 8000), st.integers(1, 8000))
def test_a_prompt_read_in_two_parts_is_as_much_work_as_at_once(model, first, second):
    of = deployment(model, precision="fp8", tensor=4)
    parts = prefill_s(of, first) + prefill_s(of, second, first)
    assert float(parts) == pytest.approx(float(prefill_s(of, first + second)), rel=1e-9)


def test_arrays_and_numbers_give_the_same():
    of = deployment("deepseek-v3", "h200", tensor=8, precision="fp8")
    together = tpot_s(of, np.array([1, 16, 64]), np.array([100, 1000, 8000]), np.array([10, 100, 1000]))
    alone = [float(tpot_s(of, *one)) for one in ((1, 100, 10), (16, 1000, 100), (64, 8000, 1000))]
    assert together == pytest.approx(alone)


def test_what_does_not_fit_has_no_room_for_a_sequence():
    assert deployment("llama-3.1-70b", "h100", precision="bf16").most_sequences(1000) == 0
    assert deployment("llama-3.1-70b", "h100", precision="bf16", tensor=4).most_sequences(1000) > 100


def test_a_latent_cache_is_not_split_among_devices_and_heads_are_at_most_once():
    assert deployment("deepseek-v3", tensor=8).kv_shards == 1
    assert deployment("qwen3-235b-a22b", tensor=8).kv_shards == 4


def test_one_point_makes_its_own_prediction_exact():
    of = deployment(precision="fp8")
    found = calibrate(of, Point(concurrency=16, prompt=500, answer=200, tpot_s=0.02))
    assert found.factor * float(tpot_s(of, 16, 500, 200)) == pytest.approx(0.02)
    assert found.error < 0.25


@pytest.mark.parametrize("tpot", [0.0, -1.0, float("nan"), float("inf")])
def test_a_point_that_is_no_measurement_is_refused(tpot):
    with pytest.raises(ConfigError, match="above zero"):
        calibrate(deployment(), Point(concurrency=1, prompt=1, answer=1, tpot_s=tpot))


def test_a_point_in_milliseconds_is_refused():
    with pytest.raises(ConfigError, match="check its unit"):
        calibrate(deployment(), Point(concurrency=16, prompt=500, answer=200, tpot_s=9.0))


def test_a_precision_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match="'fp7' does not exist; there are: bf16"):
        weight_bits("fp7")
