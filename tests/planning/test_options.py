"""Options, what they cost, and what the plan says: numbers that can be worked out by hand, and both answers."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tokenworks.core.errors import ConfigError, MissingExtraError
from tokenworks.planning import money as costs
from tokenworks.planning.calibration import Calibration
from tokenworks.planning.machine import Machine
from tokenworks.planning.options import Inputs, hosted_usd, inputs
from tokenworks.planning.prices import grid
from tokenworks.planning.report import lines, plan
from tokenworks.planning.sizing import served, size
from tokenworks.planning.step import Deployment
from tokenworks.planning.tables import read_tables
from tokenworks.planning.trace import MONTH_S, Trace
from tokenworks.planning.volume import monthly
from tokenworks.planning.workload import Choice, Hosted, Money, Targets, Workload, read_workload, with_labels

TABLES = read_tables()


def traffic(rate=4.0, seconds=600, seed=0):
    rng = np.random.default_rng(seed)
    count = int(rate * seconds)
    return Trace(
        np.cumsum(rng.exponential(1 / rate, count)), rng.integers(200, 1500, count), rng.integers(50, 300, count)
    )


def planned(workload=None, trace=None):
    given = inputs(workload or Workload(), trace or traffic(), TABLES)
    return given, plan(given)


def option(made, kind):
    return next(one for one in made.options if one.kind == kind)


def test_a_server_costs_what_the_economics_page_works_out():
    # 280 k USD, 4 years, 10 % residual, 8 kW, PUE 1.54, 0.15 USD/kWh, 60 k of staff, 5 %.
    machine = Machine(bf16_tflops=1, memory_gb=1, bandwidth_tb_s=1, price_usd=35_000, host_w=1000)
    found = costs.bought(machine, 8, 0.5, Money(interest=0))
    assert found.usd / costs.HOURS_MONTH == pytest.approx(17.5, rel=0.01)
    assert found.energy_usd / costs.HOURS_MONTH == pytest.approx(1.85, rel=0.01)


def test_break_even_utilisation_is_that_of_the_economics_page():
    # Llama-3.3-70B on 4 H100 at 1.69 USD/h, 5,130 tokens/s, against 0.40 USD/M: 92 %.
    tokens = 5130 * MONTH_S
    assert costs.break_even_utilisation(4 * 1.69 * MONTH_S / 3600, tokens, 0.40) == pytest.approx(0.92, abs=0.01)


def test_a_purchase_that_saves_nothing_is_never_paid():
    assert costs.break_even_months(1000, 50, 60) is None
    assert costs.break_even_months(1000, 150, 50) == 10


def test_the_month_is_the_trace_at_its_pace_for_the_active_hours():
    given, _ = planned(Workload(active_hours=100))
    assert given.volume.requests == pytest.approx(4.0 * 360_000, rel=0.05)


def test_a_given_volume_makes_the_trace_faster_not_its_lengths_other():
    plain, fast = planned()[0], planned(Workload(requests_per_month=planned()[0].volume.requests * 3))[0]
    assert fast.trace.span_s == pytest.approx(plain.trace.span_s / 3, rel=0.01)
    assert fast.trace.prompt.tolist() == plain.trace.prompt.tolist()


def test_commodity_prices_mean_do_not_build_and_more_usage_does_not_change_that():
    _, made = planned()
    assert not made.advice.build
    assert made.advice.lines[0].startswith("Do not build: the hosted API costs")
    assert made.advice.above is None
    assert "More usage does not change that" in made.advice.lines[1]


def test_a_dear_api_means_build_and_below_some_usage_it_does_not():
    expensive = Workload(
        hosted=Hosted(input_usd=5, output_usd=25), rented=Choice(clearance="public"), labels={"internal": 1}
    )
    given, made = planned(
        msgspec.structs.replace(expensive, hosted=Hosted(input_usd=5, output_usd=25, clearance="internal"))
    )
    assert made.advice.build
    assert made.advice.choice == "bought"
    turn = made.advice.below
    assert turn is not None
    assert turn.kind == "hosted API"
    bought, hosted = option(made, "bought"), option(made, "hosted API")
    # On both sides of the turning point the other is the cheaper one.
    for factor, cheaper in ((0.9, hosted), (1.1, bought)):
        prices = {one.kind: monthly(given, one, [turn.requests * factor])[0] for one in (bought, hosted)}
        assert min(prices, key=prices.get) == cheaper.kind


def test_labels_keep_what_may_not_leave_and_hybrid_sends_the_rest():
    labels = {"public": 0.6, "confidential": 0.4}
    _, made = planned(Workload(labels=labels, hosted=Hosted(input_usd=5, output_usd=25)))
    hosted, hybrid = option(made, "hosted API"), option(made, "hybrid")
    assert hosted.permitted_share == pytest.approx(0.6)
    assert not hosted.allowed
    assert hybrid.allowed
    assert hybrid.usd_month > 0.6 * hosted.usd_month
    assert any("hosted API: labels permit it for 60%" in line for line in made.advice.lines)


def test_a_slow_site_is_said_to_be_too_slow():
    _, made = planned(Workload(model="llama-3.1-70b"))
    site = option(made, "this site")
    assert not site.reaches_targets
    assert "does not fit" in site.note


def test_targets_that_nothing_reaches_are_said_to_be_so():
    workload = Workload(targets=Targets(ttft_p95_s=0.001), labels={"restricted": 1})
    _, made = planned(workload)
    assert made.advice.choice == "none"
    assert made.advice.lines[0].startswith("Do not build yet")


def sized(of, trace, targets, factor=1.0):
    return size(of, trace, targets, served(of, trace, Calibration(factor=factor)))


def test_the_fewest_copies_are_found():
    of = Deployment(model=TABLES.model("llama-3.1-8b"), machine=TABLES.machine("l40s"), precision="fp8")
    trace, targets = traffic(rate=40, seconds=120), Targets(ttft_p95_s=1.0, tpot_p95_s=0.04)
    found = sized(of, trace, targets)
    assert found is not None
    assert found.copies > 1
    assert found.tpot_p95_s <= 0.04
    twice = sized(of, traffic(rate=80, seconds=120), targets)
    assert twice is not None
    assert twice.copies > found.copies


def test_a_slower_calibration_needs_more():
    of = Deployment(model=TABLES.model("llama-3.1-8b"), machine=TABLES.machine("l40s"), precision="fp8")
    trace, targets = traffic(rate=40, seconds=120), Targets(tpot_p95_s=0.05)
    plain, slow = (sized(of, trace, targets, factor) for factor in (1.0, 1.3))
    assert plain is not None
    assert slow is not None
    assert slow.copies > plain.copies


def test_the_table_names_every_option_and_the_band():
    _, made = planned(Workload(labels={"public": 0.5, "restricted": 0.5}))
    text = "\n".join(lines(made))
    for kind in ("this site", "bought", "rented", "hosted API", "hybrid"):
        assert f"\n{kind} " in text
    assert "fixed priors" in text
    assert msgspec.json.decode(msgspec.json.encode(made))["options"]


def test_cached_prompt_tokens_cost_what_the_host_asks_for_them():
    def month(share):
        hosted = Hosted(input_usd=1.0, cached_usd=0.1, output_usd=0.0, cached_share=share)
        return hosted_usd(inputs(Workload(hosted=hosted), traffic(), TABLES))

    assert month(1.0) == pytest.approx(0.1 * month(0.0))


def test_charts_show_every_machine(tmp_path):
    pytest.importorskip("matplotlib")
    from tokenworks.planning.charts import draw

    given, made = planned()
    paths = draw(given, made, tmp_path / "charts")
    assert [path.name for path in paths] == ["cost-against-volume.svg", "throughput-against-speed.svg"]
    assert all(path.read_bytes().startswith(b"<?xml") for path in paths)


def test_a_machine_that_is_bought_or_rented_is_one_curve_and_lines_say_what_they_are(tmp_path):
    pytest.importorskip("matplotlib")
    from tokenworks.planning.charts import draw

    given, made = planned()
    bought = next(one for one in made.options if one.kind == "bought")
    rented = msgspec.structs.replace(bought, kind="rented")
    made = msgspec.structs.replace(made, options=(bought, rented))
    costs, speeds = (path.read_text() for path in draw(given, made, tmp_path / "charts"))
    assert "<!-- this workload -->" in costs
    assert f"<!-- bought, rented: {bought.machine} x" in speeds
    assert speeds.count(f": {bought.machine} x") == 1
    assert "ms a token -->" in speeds


def test_charts_without_matplotlib_name_the_extra(tmp_path, monkeypatch):
    import sys

    from tokenworks.planning.charts import draw

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"tokenworks\[charts\]"):
        draw(*planned(), tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('modle = "x"', "unknown key 'modle'; did you mean 'model'"),
        ("[labels]\nsecret = 1.0", "label 'secret' does not exist"),
        ("[labels]\npublic = 0.0", "shares add up to 0, not to 1"),
        ('[rented]\nclearance = "all"', "rented.clearance: label 'all'"),
        ("requests_per_month = -1", "requests_per_month"),
        ("[targets]\nttft_p95_s = 0", "ttft_p95_s"),
        ("[money]\npue = 0.5", "pue"),
    ],
)
def test_a_workload_that_cannot_be_meant_is_refused(tmp_path, text, said):
    (tmp_path / "w.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_workload(tmp_path / "w.toml")


def test_an_unknown_grid_lists_those_that_are_known():
    with pytest.raises(ConfigError, match="grid 'mars' is not known; give grid_g_kwh, or one of: world, france"):
        grid(Workload(grid="mars"))


def test_labels_of_the_ledger_count_unless_the_workload_says_its_own():
    assert with_labels(Workload(), {"public": 3, "internal": 1}).labels == {"public": 0.75, "internal": 0.25}
    assert with_labels(Workload(labels={"public": 1.0}), {"internal": 1}).labels == {"public": 1.0}


def test_inputs_hold_the_users_own_machines(tmp_path):
    (tmp_path / "w.toml").write_text(
        "[machines.box]\nbf16_tflops = 500\nmemory_gb = 64\nbandwidth_tb_s = 2\nprice_usd = 9000\n"
        '[bought]\nmachine = "box"\n'
    )
    given = inputs(read_workload(tmp_path / "w.toml"), traffic(), TABLES)
    assert isinstance(given, Inputs)
    assert option(plan(given), "bought").machine == "box"
