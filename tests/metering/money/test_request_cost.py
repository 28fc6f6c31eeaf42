"""What a request costs the house: by engine time and joules, by tokens, elsewhere; and nothing is lost to rounding."""

from __future__ import annotations

import datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.costs import COSTS, OCTOBER
from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import parse_toml
from tokenworks.core.usage import Spent, Usage
from tokenworks.metering.money.costs_file import CostFile, Sheet
from tokenworks.metering.money.node import hour_cost
from tokenworks.metering.money.request_cost import Costs, TokenRate

TOKENS = '\n[tokens."*"]\ninput = 2.0\ncached = 0.5\noutput = 8.0\n'
NOTHING = Spent()


def micro(costs: Costs, *, spent: Spent = NOTHING, usage: Usage | None = None, place: str = "here") -> int | None:
    return costs.micro(at=OCTOBER, model="complete", place=place, usage=usage or Usage(), spent=spent)


def test_an_hour_of_an_engine_costs_an_hour_of_the_machine(sheet):
    costs = sheet()
    whole = hour_cost(costs, costs.file.nodes[0], OCTOBER).total
    assert micro(Costs(costs), spent=Spent(engine_s=3600.0)) == round(whole * 1_000_000)


def test_metered_joules_take_the_place_of_the_modelled_power(sheet):
    found = sheet()
    fixed = hour_cost(found, found.file.nodes[0], OCTOBER).fixed
    spent = Spent(engine_s=3600.0, joules=3.6e6, meter="wall")  # one kilowatt hour: 0.15 * 1.54
    assert micro(Costs(found), spent=spent) == round(fixed * 1_000_000) + 231_000
    half = sheet(COSTS.replace("pue = 1.54", "pue = 1.54\nmetered_share = 0.5"))
    assert micro(Costs(half), spent=spent) == round(fixed * 1_000_000) + 462_000


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -1.0])
def test_a_meter_that_says_nonsense_counts_as_none(sheet, nonsense):
    found = sheet()
    modelled = micro(Costs(found), spent=Spent(engine_s=60.0))
    assert micro(Costs(found), spent=Spent(engine_s=60.0, joules=nonsense, meter="wall")) == modelled
    assert micro(Costs(found), spent=Spent(engine_s=nonsense)) is None


def test_two_engines_share_a_machine(sheet):
    one, two = sheet(), sheet(COSTS.replace("pue = 1.54", "pue = 1.54\nengines = 2"))
    hour = Spent(engine_s=3600.0)
    assert abs(micro(Costs(one), spent=hour) - 2 * micro(Costs(two), spent=hour)) <= 2


def test_where_no_engine_says_how_long_it_took_tokens_cost_what_is_stated(sheet):
    costs = Costs(sheet(COSTS + TOKENS))
    usage = Usage(prompt_tokens=1000, cached_tokens=400, completion_tokens=100)
    assert micro(costs, usage=usage) == 600 * 2 + 200 + 800


def test_where_nothing_is_stated_nobody_knows(sheet):
    assert micro(Costs(sheet()), usage=Usage(prompt_tokens=1)) is None


def test_a_server_elsewhere_costs_what_it_asks(sheet):
    costs = Costs(sheet(), remotes={"far": TokenRate(100, 100, 500)})
    usage = Usage(prompt_tokens=1000, cached_tokens=400, completion_tokens=100)
    assert micro(costs, usage=usage, place="far", spent=Spent(engine_s=1.0)) == 150


def test_figures_are_in_the_currency_of_the_price_list_at_the_days_rate(sheet):
    text = COSTS + '\n[[rates]]\ncurrency = "USD"\nsince = 2026-01-01\nrate = 0.8\n'
    spent = Spent(engine_s=3600.0)
    own, foreign = micro(Costs(sheet(text)), spent=spent), micro(Costs(sheet(text), into="USD"), spent=spent)
    assert foreign == pytest.approx(own / 0.8, abs=1)
    with pytest.raises(ConfigError, match="what CHF is worth"):
        Costs(sheet(text), into="CHF").check(OCTOBER)


def test_the_tariff_of_the_hour_counts(sheet):
    text = COSTS.replace(
        "per_kwh = 0.15", 'per_kwh = 0.15\nhours = "0-12"\n[[tariffs.bands]]\nper_kwh = 0.3\nhours = "12-24"'
    )
    costs = Costs(sheet(text))
    spent = Spent(engine_s=0.001, joules=3.6e9)
    day = datetime.datetime(2026, 10, 5, tzinfo=datetime.UTC).timestamp()
    found = [
        costs.micro(at=day + hour * 3600, model="m", place="here", usage=Usage(), spent=spent)
        for hour in (11.99, 12.0, 11.99)
    ]
    assert found[1] == pytest.approx(2 * found[0], abs=10)
    assert found[2] == pytest.approx(found[0], abs=1)


def test_a_machine_has_to_be_named_where_there_are_several(sheet):
    two = sheet(COSTS + COSTS[COSTS.index("[[nodes]]") : COSTS.index("[[tariffs]]")].replace('"a"', '"b"'))
    with pytest.raises(ConfigError, match=r"has the nodes a, b; say which this machine is: costs\.node"):
        Costs(two)
    with pytest.raises(ConfigError, match="'c' is not in"):
        Costs(two, node="c")
    assert micro(Costs(two, node="b"), spent=Spent(engine_s=1.0)) > 0


@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=200))
def test_the_sum_over_requests_is_the_cost_of_their_sum_to_one_millionth(seconds):
    sheet = Sheet(parse_toml(COSTS, CostFile, where="costs.toml"))
    costs = Costs(sheet)
    total = sum(micro(costs, spent=Spent(engine_s=one)) for one in seconds)
    hour = hour_cost(sheet, sheet.file.nodes[0], OCTOBER).total
    exact = sum(Fraction(round(one * 1e6)) for one in seconds) * Fraction(hour) / 3600
    assert abs(total - exact) <= 1 + Fraction(len(seconds) * 3, 1000)  # each is cut at a billionth, its rate as well


HALF_HOURS = COSTS.replace('zone = "UTC"', 'zone = "Asia/Kolkata"').replace(
    "per_kwh = 0.15", 'per_kwh = 0.10\nhours = "22-6"\n[[tariffs.bands]]\nper_kwh = 0.30\nhours = "6-22"'
)


def test_the_tariff_changes_within_an_hour_of_utc_where_clocks_are_off_by_half_of_one(sheet):
    """06:00 in India is 00:30 in UTC: what was worked out at 00:10 does not hold at 00:40."""
    costs = Costs(sheet(HALF_HOURS))

    def energy(at: float) -> int | None:
        spent = Spent(engine_s=0.001, joules=3.6e6, meter="wall")
        return costs.micro(at=at, model="complete", place="here", usage=Usage(), spent=spent)

    night, day = energy(OCTOBER + 600), energy(OCTOBER + 2400)
    assert day - night == pytest.approx(0.2 * 1.54 * 1e6, abs=2)
    assert energy(OCTOBER + 600) == pytest.approx(night, abs=1)
