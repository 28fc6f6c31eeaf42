"""What nobody can mean: an error that names the value, the place and the way out, and never a plan."""

from __future__ import annotations

import numpy as np
import pytest

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.planning.options import inputs
from tokenworks.planning.tables import read_tables
from tokenworks.planning.trace import Trace
from tokenworks.planning.training import served
from tokenworks.planning.workload import Workload, read_workload

MACHINE = "[machines.mine]\nbf16_tflops = 100\nmemory_gb = 80\nbandwidth_tb_s = 3\n"
MODEL = "[models.mine]\nlayers = 32\nhidden = 4096\nheads = 32\nhead_size = 128\nvocabulary = 1000\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[hosted]\ninput_usd = inf\n", "line 2: hosted.input_usd: Expected `float` <="),
        ("[money]\ntariff_usd_kwh = nan\n", "line 2: money.tariff_usd_kwh: Expected `float` >= 0"),
        ("requests_per_month = inf\n", "line 1: requests_per_month: Expected `float` <="),
        (MACHINE.replace("100", "-5"), "machines.bf16_tflops: Expected `float` > 0"),
        (MACHINE.replace("100", "nan"), "machines.bf16_tflops: Expected `float` > 0"),
        (MACHINE.replace("bandwidth_tb_s = 3", "bandwidth_tb_s = 0"), "bandwidth_tb_s: Expected `float` > 0"),
        (MACHINE + "price_usd = -1\n", "machines.price_usd: Expected `float` >= 0"),
        (MODEL.replace("layers = 32", "layers = 0"), "models.layers: Expected `int` >= 1"),
        (MODEL.replace("4096", "-1"), "models.hidden: Expected `int` >= 1"),
        ("[labels]\npublic = 0.9\nrestricted = 0.9\n", "labels: the shares add up to 1.8, not to 1"),
        ("[labels]\npublic = 0.4\n", "labels: the shares add up to 0.4, not to 1"),
        ("[labels]\nsecret = 1.0\n", "w.toml: labels: label 'secret' does not exist"),
    ],
)
def test_a_workload_that_cannot_be_meant_is_named_with_its_place(tmp_path, text, said):
    (tmp_path / "w.toml").write_text(text)
    with pytest.raises(ConfigError) as wrong:
        read_workload(tmp_path / "w.toml")
    assert said in str(wrong.value)
    assert "w.toml" in str(wrong.value)


@pytest.mark.parametrize("count", [1, 5])
def test_a_trace_of_one_moment_tells_no_pace_of_a_month(count):
    trace = Trace(np.zeros(count), np.full(count, 100), np.full(count, 20))
    with pytest.raises(DataError, match="tells no pace; give requests_per_month"):
        inputs(Workload(), trace, read_tables())
    assert inputs(Workload(requests_per_month=1000), trace, read_tables()).volume.requests == 1000


@pytest.mark.parametrize("answers", [-1, float("nan"), float("inf")])
def test_tokens_served_that_are_no_number_are_refused(answers):
    with pytest.raises(ConfigError, match="--served"):
        served(1e20, answers)
