"""The worked figures of the economics page, section 0.4 and 1.3, by the formulas that plans are made with."""

from __future__ import annotations

import pytest

from tokenworks.planning import money as costs
from tokenworks.planning.machine import Machine
from tokenworks.planning.prices import OTHERS, hosted_price, price_note, priced_as
from tokenworks.planning.tables import read_tables
from tokenworks.planning.trace import MONTH_S
from tokenworks.planning.workload import Hosted, Money, Workload

TABLES = read_tables()
HOURS = MONTH_S / 3600
# Devices, USD a device-hour (InferenceX), output tokens a second (ML.ENERGY) where the page has them, else from its USD
# a million at full use; then the price of the cheapest host, and what the page makes of them.
ROWS = [
    ("llama-3.1-8b, 1 H100", 1, 1.69, 9010, 0.05, 0.052, 0.17, 1.04, 0.010),
    ("llama-3.3-70b, 4 H100", 4, 1.69, 5130, 0.40, 0.37, 1.22, 0.92, 0.073),
    ("gpt-oss-120b, 2 H100", 2, 1.69, 2 * 1.69 / 3600 / 0.114 * 1e6, 0.17, 0.114, 0.38, 0.67, 0.023),
    ("gpt-oss-120b, 1 B200", 1, 2.34, 2.34 / 3600 / 0.040 * 1e6, 0.17, 0.040, 0.13, 0.24, 0.008),
    ("qwen3-30b-a3b, 2 H100", 2, 1.69, 7154, 0.30, 0.131, 0.44, 0.44, 0.026),
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_unit_costs_and_break_even_are_those_of_the_page(row):
    _, devices, usd_h, speed, host, full, third, against_host, against_five = row
    month, tokens = devices * usd_h * HOURS, speed * MONTH_S
    assert month / tokens * 1e6 == pytest.approx(full, rel=0.02)
    assert month / (0.3 * tokens) * 1e6 == pytest.approx(third, rel=0.03)
    assert costs.break_even_utilisation(month, tokens, host) == pytest.approx(against_host, abs=0.012)
    assert costs.break_even_utilisation(month, tokens, 5.0) == pytest.approx(against_five, abs=0.0006)


def test_energy_of_a_token_is_that_of_the_page():
    """Of the 70B row: electricity at PUE 1.54 and 0.12 a kWh is 0.025 a million, from 0.49 J a token at the chip."""
    chip_j, speed = 0.49, 5130
    machine = Machine(bf16_tflops=1, memory_gb=1, bandwidth_tb_s=1, host_w=chip_j * speed)  # all of its draw
    found = costs.bought(machine, 1, 1.0, Money(tariff_usd_kwh=0.12, staff_usd_year=0))
    millions = speed * MONTH_S / 1e6
    assert found.energy_usd / millions == pytest.approx(0.025, abs=5e-4)
    joules = found.kwh * 3.6e6 / (speed * MONTH_S)
    assert joules == pytest.approx(chip_j * 1.54)
    assert found.kwh / millions == pytest.approx(joules / 3.6)  # kWh/M = J/tok / 3.6
    assert speed / (chip_j * speed * 1.54 / 1e6) == pytest.approx(1e6 / joules)  # tok/s/MW = 1e6 / (J/tok)


def test_upkeep_is_no_capital_and_stays_after_the_purchase_is_paid():
    """months* = (capex + setup) / (API bill - opex): what maintenance takes is not saved (economics page, 1.3)."""
    machine = Machine(bf16_tflops=1, memory_gb=1, bandwidth_tb_s=1, price_usd=12_000)
    found = costs.bought(
        machine, 1, 0.0, Money(interest=0, maintenance=0.1, staff_usd_year=0, residual=0, life_years=4)
    )
    assert (found.capital_usd, found.upkeep_usd) == (pytest.approx(250), pytest.approx(100))
    assert costs.break_even_months(12_000, 400, found.usd - found.capital_usd) == pytest.approx(40)


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("llama-3.1-8b", "llama-3.1-8b"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.1-70b"),
        ("nvidia/Llama-3.3-70B-Instruct-FP8", "llama-3.1-70b"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-v3"),
    ],
)
def test_a_model_has_the_price_of_its_shape_under_every_name_that_it_is_known_by(model, row):
    asked = Workload(model=model)
    assert priced_as(asked, TABLES) == row
    assert price_note(asked, TABLES) == f"at the prices of {row}"


def test_a_model_that_no_host_of_the_table_has_is_said_to_be_priced_as_another():
    asked = Workload(model="glm-4.6")
    assert priced_as(asked, TABLES) == OTHERS
    assert "no host of glm-4.6 is in the table" in price_note(asked, TABLES)
    own = Workload(model="glm-4.6", hosted=Hosted(input_usd=0.4, output_usd=1.6))
    assert hosted_price(own, TABLES) == (0.4, 0.4, 1.6)  # and no other host's discount for what it has already
    assert price_note(own, TABLES) == "at the workload's prices"
