"""SCI figures: worked by hand, and shared between consumer and provider without a gram twice or lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.costs import COSTS, OCTOBER
from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import parse_toml
from tokenworks.ledger.entries import EnergyEntry, StageEntry
from tokenworks.metering.carbon.footprint import Work, footprint, footprint_lines, work_of
from tokenworks.metering.carbon.making import Made, making
from tokenworks.metering.money.costs_file import CostFile, Sheet
from tokenworks.metering.money.month import month_of
from tokenworks.metering.money.sums import add_up

MONTH = month_of("2026-10")
CARBON = '\n[carbon]\nzone = "DE"\n'
MADE_KG = 5700 + 8 * 164  # a server with eight accelerators
HOURS = 744


def made(extra: str = CARBON, folder=None) -> Sheet:
    text = COSTS.replace("pue = 1.54", f"pue = 1.54\nembodied_kg = {MADE_KG}") + extra
    return Sheet(parse_toml(text, CostFile, where="costs.toml"), "costs.toml", folder)


def test_the_figures_of_a_month_are_those_worked_by_hand(request_entry):
    table = add_up([request_entry(engine_s=1800.0, prompt_tokens=1000, completion_tokens=1000)] * 4, MONTH)
    found = footprint(made(), table, Work(workflows=2), MONTH, until=MONTH.end)
    kwh = (HOURS * 2 + 1 * 6) * 1.54  # four halves of an hour at one engine: busy for the whole hour
    embodied = MADE_KG * 1000 * HOURS / (4 * 8760)
    assert found.consumer.energy_kwh == pytest.approx(kwh)
    assert found.consumer.operational_g == pytest.approx(kwh * 344)
    assert found.consumer.embodied_g == pytest.approx(embodied)
    total = kwh * 344 + embodied
    per = {"request": total / 4, "million tokens": total / 0.008, "workflow": total / 2}
    assert found.consumer.per == pytest.approx(per)
    assert found.provider.total_g == 0


def test_an_hour_of_an_accelerator_is_worth_33_grams_of_its_making():
    whole = footprint(made(), {}, Work(), MONTH, until=MONTH.begin + 3600)
    per_accelerator = whole.consumer.embodied_g / 8 * 4 / 3  # the literature's figure is for a life of three years
    assert per_accelerator == pytest.approx(33, abs=1)


def test_making_models_is_the_providers(request_entry):
    work = Work(making_s=3600.0, models=2, parameters=3_000_000)
    found = footprint(made(), {}, work, MONTH, until=MONTH.end)
    assert found.provider.energy_kwh == pytest.approx(8 * 1.54)
    grams = 8 * 1.54 * 344 + MADE_KG * 1000 / (4 * 8760)
    assert found.provider.per == pytest.approx({"model": grams / 2, "million parameters": grams / 3})


@settings(max_examples=20, deadline=None)
@given(st.floats(0, HOURS * 3600), st.floats(0, 3600))
def test_consumer_and_provider_share_what_was_drawn_and_worn(making_s, engine_s):
    from tokenworks.ledger.entries import RequestEntry

    entry = RequestEntry(
        at=OCTOBER, request_id="r", endpoint="completions", outcome="ok", status=200, engine_s=engine_s
    )
    found = footprint(made(), add_up([entry], MONTH), Work(making_s=making_s), MONTH, until=MONTH.end)
    both = found.consumer.energy_kwh + found.provider.energy_kwh
    drawn = (HOURS * 2 + engine_s / 3600 * 6 + making_s / 3600 * 6) * 1.54
    assert both == pytest.approx(drawn)
    worn = found.consumer.embodied_g + found.provider.embodied_g
    assert worn == pytest.approx(MADE_KG * 1000 * HOURS / (4 * 8760))


def test_the_log_says_how_many_workflows_there_were_and_how_long_models_were_made(request_entry):
    stage = {"task": "t", "stage": "train.classify", "key": "k", "outputs": {}}
    entries = [
        *[request_entry(conversation="c1") for _ in range(3)],
        request_entry(conversation="c1", tenant="beta"),
        request_entry(),
        request_entry(outcome="refused"),
        request_entry(arm="shadow"),
        request_entry(at=MONTH.begin - 1),
        StageEntry(at=OCTOBER, seconds=30.0, hit=False, **stage),
        StageEntry(at=OCTOBER, seconds=9.0, hit=True, **stage),
        StageEntry(at=OCTOBER + 20.0, seconds=30.0, hit=False, **stage),
        StageEntry(at=MONTH.end + 5.0, seconds=9.0, hit=False, **stage),
        StageEntry(at=MONTH.end + 9.0, seconds=3.0, hit=False, **stage),
    ]
    spans = ((OCTOBER, OCTOBER + 20.0), (MONTH.end - 4.0, MONTH.end))
    assert MONTH.begin == OCTOBER
    assert work_of(entries, MONTH) == Work(workflows=3, making_s=24.0, stages=spans)


def test_a_stage_over_the_end_of_a_month_is_made_in_both_by_its_time(request_entry):
    stage = StageEntry(at=MONTH.end + 40.0, seconds=100.0, hit=False, task="t", stage="s", key="k", outputs={})
    november = month_of("2026-11")
    assert (work_of([stage], MONTH).making_s, work_of([stage], november).making_s) == (60.0, 40.0)


def test_stages_side_by_side_wear_the_machine_once():
    stages = [
        StageEntry(at=OCTOBER + 100.0 + late, seconds=100.0, hit=False, task="t", stage="s", key="k", outputs={})
        for late in (0.0, 10.0, 50.0)
    ]
    assert work_of(stages, MONTH).making_s == 150.0


def test_samples_and_failed_canaries_are_no_workflows(request_entry):
    entries = [
        *[request_entry(part_of="req-thought") for _ in range(8)],
        request_entry(request_id="req-thought", samples=8),
        request_entry(request_id="req-1-canary"),
        request_entry(arm="shadow"),
    ]
    assert work_of(entries, MONTH).workflows == 1


def test_a_machine_past_its_life_has_no_making_left_to_account_for():
    text = COSTS.replace("pue = 1.54", f"pue = 1.54\nembodied_kg = {MADE_KG}").replace(
        "life_years = 4", "life_years = 0.5"
    )
    old = Sheet(parse_toml(text + CARBON, CostFile, where="costs.toml"))
    work = Work(making_s=3600.0, stages=((OCTOBER, OCTOBER + 3600.0),))
    found = footprint(old, {}, work, MONTH, until=MONTH.end)
    assert (found.consumer.embodied_g, found.provider.embodied_g) == (0, 0)


def test_a_signal_by_the_half_hour_counts_with_its_mean(tmp_path):
    (tmp_path / "s.csv").write_text("time,g_per_kwh\n2026-10-01T00:00Z,100\n2026-10-01T00:30Z,300\n")
    extra = CARBON + 'signal = "s.csv"\nfigures = "signal"\n'
    found = footprint(made(extra, tmp_path), {}, Work(), MONTH, until=MONTH.begin + 3600)
    assert (found.hours_unknown, found.g_per_kwh) == (0, pytest.approx(200))


def test_figures_may_go_by_a_signal_and_say_how_much_it_does_not_cover(tmp_path):
    (tmp_path / "s.csv").write_text("time,g_per_kwh\n2026-10-01T00:00Z,100\n")
    extra = CARBON + 'signal = "s.csv"\nfigures = "signal"\n'
    found = footprint(made(extra, tmp_path), {}, Work(), MONTH, until=MONTH.begin + 2 * 3600)
    assert found.hours_unknown == 1
    assert found.g_per_kwh == pytest.approx((100 + 344) / 2)
    assert "1 hours that the signal does not cover" in "\n".join(footprint_lines(found))


@pytest.mark.parametrize(
    ("extra", "said"),
    [("", "add .carbon. zone"), ('\n[carbon]\nzone = "DE"\nfigures = "signal"\n', "no signal is named")],
)
def test_what_the_costs_file_does_not_say_is_named(extra, said):
    with pytest.raises(ConfigError, match=said):
        footprint(made(extra), {}, Work(), MONTH, until=MONTH.end)


def of_meter(at: float, **joules: float) -> EnergyEntry:
    return EnergyEntry(at=at, seconds=3600.0, metered_j=sum(joules.values()), meter="rapl", error=0.05, **joules)


def test_metered_hours_count_as_metered_and_the_others_by_the_model():
    read = [of_meter(MONTH.begin + 3600, idle_j=7.2e6, requests_j=3.6e6)]
    found = footprint(made(), {}, Work(), MONTH, until=MONTH.begin + 2 * 3600, read=read)
    assert found.metered_kwh == pytest.approx(3 * 1.54)
    assert found.consumer.energy_kwh == found.drawn_kwh == pytest.approx((3 + 2) * 1.54)
    text = "\n".join(footprint_lines(found))
    assert "drawn      7.700 kWh, 4.620 of them metered" in text
    assert "metered by rapl" in text


def test_while_a_model_is_made_what_requests_took_is_still_the_consumers():
    read = [of_meter(MONTH.begin + 3600, idle_j=3.6e6, other_j=7.2e6, requests_j=1.8e6)]
    work = Work(making_s=1800.0, models=1, stages=((MONTH.begin, MONTH.begin + 1800.0),))
    found = footprint(made(), {}, work, MONTH, until=MONTH.begin + 3600, read=read)
    assert found.provider.energy_kwh == pytest.approx((1 + 2) / 2 * 1.54)
    assert found.consumer.energy_kwh == pytest.approx((3.5 - 1.5) * 1.54)


def test_stages_at_the_same_time_have_the_meters_joules_once():
    entries = [of_meter(MONTH.begin + 3600, idle_j=3.6e6)]
    twice = ((MONTH.begin, MONTH.begin + 900), (MONTH.begin + 300, MONTH.begin + 1800))
    assert making(entries, twice, MONTH) == Made(pytest.approx(1.8e6), pytest.approx(1800.0))


spans = st.tuples(st.floats(0, 5 * 3600), st.floats(0, 3600)).map(
    lambda pair: (MONTH.begin + pair[0], MONTH.begin + sum(pair))
)


@settings(max_examples=40, deadline=None)
@given(st.lists(spans, max_size=6), st.lists(st.tuples(*[st.floats(0, 1e7)] * 3), max_size=4))
def test_consumer_and_provider_share_what_was_metered(stages, joules):
    read = [
        of_meter(MONTH.begin + 3600 * (at + 1), idle_j=idle, other_j=other, requests_j=requests)
        for at, (idle, other, requests) in enumerate(joules)
    ]
    work = Work(making_s=sum(until - since for since, until in stages), stages=tuple(stages))
    found = footprint(made(), {}, work, MONTH, until=MONTH.begin + 6 * 3600, read=read)
    beside = making(read, stages, MONTH)
    rest_s = max(0.0, work.making_s - beside.seconds)
    busier = 6 * 1.54 * rest_s / 3600  # kWh that making took beyond what is modelled of machines that stand idle
    assert found.provider.energy_kwh >= 0
    if found.consumer.energy_kwh > 0:
        assert found.consumer.energy_kwh + found.provider.energy_kwh == pytest.approx(found.drawn_kwh + busier)
