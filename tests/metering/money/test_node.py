"""What an hour of a machine costs, against the worked example and by parts."""

from __future__ import annotations

import datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.costs import COSTS
from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import parse_toml
from tokenworks.metering.money.costs_file import CostFile, Sheet
from tokenworks.metering.money.month import month_of
from tokenworks.metering.money.node import hour_cost, hours_of

NOON = datetime.datetime(2026, 10, 5, 12, tzinfo=datetime.UTC).timestamp()
RATES = """
[[rates]]
currency = "USD"
since = 2026-01-01
rate = 0.5
[[rates]]
currency = "USD"
since = 2026-07-01
rate = 0.8
"""


def test_the_worked_node_costs_seventeen_and_a_half_an_hour(sheet):
    costs = sheet()
    found = hour_cost(costs, costs.file.nodes[0], NOON)
    assert [round(float(part), 2) for part in found] == [7.19, 0.0, 6.85, 1.6, 0.0, 1.85]
    assert round(float(found.total), 2) == 17.49
    assert found.fixed + found.energy == found.total


def test_an_idle_machine_costs_less_power_and_as_much_of_everything_else(sheet):
    costs = sheet()
    busy, idle = (hour_cost(costs, costs.file.nodes[0], NOON, utilisation=share) for share in (1.0, 0.0))
    assert idle.energy == busy.energy / 4
    assert idle.fixed == busy.fixed


def test_interest_is_on_what_is_tied_up_on_average(sheet):
    costs = sheet()
    node = msgspec.structs.replace(costs.file.nodes[0], interest=0.05)
    assert hour_cost(costs, node, NOON).interest == Decimal("0.05") * 280000 * Decimal("1.1") / 2 / 8760


def test_a_price_is_converted_at_the_rate_of_its_day_and_wages_at_that_of_today(sheet):
    costs = sheet(COSTS.replace('name = "a"', 'name = "a"\ncurrency = "USD"') + RATES)
    found = hour_cost(costs, costs.file.nodes[0], NOON)
    own = sheet()
    there = hour_cost(own, own.file.nodes[0], NOON)
    assert found.capital == there.capital / 2
    assert found.staff == there.staff * Decimal("0.8")
    assert found.energy == there.energy


def test_a_machine_counts_from_its_first_day_to_its_last(sheet):
    costs = sheet(since="2026-10-03")
    begin = datetime.datetime(2026, 10, 1, tzinfo=datetime.UTC).timestamp()
    hours = list(hours_of(costs.file.nodes[0], begin, begin + 5 * 86400))
    assert len(hours) == 3 * 24
    assert hours[0] == begin + 2 * 86400


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("price", "-1", "price is -1"),
        ("busy_kw", "nan", "busy_kw is nan"),
        ("staff_per_year", "inf", "staff_per_year is inf"),
        ("residual", "1.5", "share of the price"),
        ("life_years", "0", "life_years must be above 0"),
        ("pue", "0.9", "below 1"),
        ("idle_kw", "9.0", "below idle_kw"),
        ("currency", '"EURO"', "'EURO' is no currency; did you mean EUR"),
        ("currency", '"credits"', "is no currency"),
        ("zone", '"Berlin"', "no time zone"),
    ],
)
def test_what_cannot_be_meant_is_named(sheet, field, value, said):
    with pytest.raises(ConfigError, match=said):
        sheet(**{field: value})


def test_a_machine_that_draws_power_needs_a_tariff(sheet):
    with pytest.raises(ConfigError, match="no tariff is given"):
        sheet(COSTS.partition("[[tariffs]]")[0])


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_work_never_costs_less(one, other):
    costs = Sheet(parse_toml(COSTS, CostFile, where="costs.toml"))
    less, more = sorted((one, other))
    first, second = (hour_cost(costs, costs.file.nodes[0], NOON, utilisation=share) for share in (less, more))
    assert first.total <= second.total


def test_a_machine_is_paid_off_at_the_end_of_its_life_and_costs_no_more_than_its_price(sheet):
    costs = sheet(life_years="0.01")  # 87.6 hours
    node = msgspec.structs.replace(costs.file.nodes[0], interest=0.05)
    begin = datetime.datetime.combine(node.since, datetime.time(), datetime.UTC).timestamp()
    hours = [hour_cost(costs, node, begin + 3600 * hour) for hour in range(200)]
    assert float(sum(one.capital for one in hours)) == pytest.approx(280000 * 0.9, rel=0.01)
    assert hours[-1].capital == 0
    assert hours[-1].interest == Decimal("0.05") * 28000 / 8760  # on what is left of it
    assert hours[-1].staff == hours[0].staff


def test_a_leap_day_and_months_of_every_length_have_all_of_their_hours(sheet):
    node = sheet().file.nodes[0]
    hours = {
        name: len(list(hours_of(node, month_of(name).begin, month_of(name).end)))
        for name in ("2027-02", "2028-02", "2026-04", "2026-12")
    }
    assert hours == {"2027-02": 28 * 24, "2028-02": 29 * 24, "2026-04": 30 * 24, "2026-12": 31 * 24}
