"""A month's statement: its sums are the entries' sums, what is allocated and idle is the total, and SQL agrees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.costs import COSTS, OCTOBER
from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import parse_toml
from tokenworks.ledger.entries import RequestEntry, Sent
from tokenworks.ledger.sql.database import Sqlite
from tokenworks.ledger.sql.views import Views
from tokenworks.ledger.writer import Ledger
from tokenworks.metering.money.allocate import allocated
from tokenworks.metering.money.apportion import apportion
from tokenworks.metering.money.costs_file import CostFile, Sheet
from tokenworks.metering.money.machines import machines
from tokenworks.metering.money.month import month_of
from tokenworks.metering.money.reconcile import reconcile
from tokenworks.metering.money.shown import statement_lines
from tokenworks.metering.money.statement import Statement, Wanted, minor, statement
from tokenworks.metering.money.sums import HOUSE, Table, add_up, month_sums

MONTH = month_of("2026-10")
AFTER = MONTH.end + 1
Make = Callable[..., RequestEntry]

entries = st.builds(
    RequestEntry,
    at=st.floats(MONTH.begin, MONTH.end - 1),
    request_id=st.sampled_from(["req-1", "req-2", "req-3-canary", "req-4-shadow"]),
    endpoint=st.just("completions"),
    outcome=st.sampled_from(["ok", "refused", "failed", "cancelled"]),
    status=st.just(200),
    tenant=st.sampled_from(["acme", "beta", ""]),
    project=st.sampled_from(["", "p1"]),
    model=st.sampled_from(["complete", "complete@1", "route"]),
    face=st.sampled_from(["", "batch"]),
    arm=st.sampled_from(["", "", "shadow", "canary"]),
    prompt_tokens=st.integers(0, 10_000),
    completion_tokens=st.integers(0, 10_000),
    price_micro=st.integers(0, 10**9),
    cost_micro=st.integers(0, 10**9),
    engine_s=st.floats(0, 100),
    joules=st.none() | st.floats(0, 1e6),
    sent=st.sampled_from([(), (Sent(to="far"),), (Sent(to="far", ended="failed"), Sent(to="here"))]),
)


def costs(extra: str = "") -> Sheet:
    return Sheet(parse_toml(COSTS + extra, CostFile, where="costs.toml"))


def made(table: Table, **wanted: object) -> Statement:
    sheet = wanted.pop("sheet", None)
    asked = Wanted(month=MONTH, currency="EUR", **wanted)
    return statement(table, asked, now=AFTER, ledger={}, sheet=sheet)


@settings(deadline=None)
@given(st.lists(entries, max_size=40))
def test_the_statement_is_the_sum_of_the_entries_in_every_cut(given_entries):
    found = made(add_up(given_entries, MONTH))
    assert found.requests == len(given_entries) == sum(line.requests for line in found.lines)
    assert found.cost_micro == sum(one.cost_micro for one in given_entries)
    assert found.cost_micro == sum(line.cost_micro for line in found.lines)
    assert found.cost_micro == sum(one.cost_micro for one in found.tenants)
    billed = [one for one in given_entries if one.arm != "shadow" and not one.request_id.endswith("-canary")]
    assert found.price_micro == sum(one.price_micro for one in billed)
    assert found.price_micro == sum(line.price_micro for line in found.lines)
    tokens = sum(line.input_tokens + line.output_tokens for line in found.lines)
    assert tokens == sum(one.prompt_tokens + one.completion_tokens for one in given_entries)


@settings(deadline=None)
@given(st.lists(entries, max_size=30), st.sampled_from(["acme", "beta", "house"]))
def test_tenants_statements_together_are_that_of_all(given_entries, whose):
    table = add_up(given_entries, MONTH)
    whole = made(table)
    one = made(table, tenant=whose)
    assert {line.tenant for line in one.lines} <= {whose}
    assert one.cost_micro == sum(line.cost_micro for line in whole.lines if line.tenant == whose)


@settings(max_examples=25, deadline=None)
@given(st.lists(entries, max_size=40), st.sampled_from(["peak", "usage", "reserved"]))
def test_what_tenants_bear_and_what_is_idle_is_what_the_machines_cost(given_entries, by):
    sheet = costs("\n[reserved]\nacme = 0.4\ngamma = 0.25\n")
    sheet.file = msgspec.structs.replace(sheet.file, idle_by=by)
    found = made(add_up(given_entries, MONTH), sheet=sheet, basis="allocation")
    own = found.machines
    assert own.used_micro + own.idle_micro == own.total_micro == sum(own.by_kind.values())
    assert sum(one.idle_micro for one in found.tenants) == own.idle_micro
    borne = sum(one.cost_micro + one.idle_micro for one in found.tenants)
    assert borne == own.total_micro + found.elsewhere_micro


@settings(max_examples=15, deadline=None)
@given(st.lists(entries, min_size=1, max_size=20))
def test_in_another_currency_the_parts_are_still_the_sum(given_entries):
    sheet = costs('\n[[rates]]\ncurrency = "USD"\nsince = 2026-01-01\nrate = 0.83\n')
    own = made(add_up(given_entries, MONTH), sheet=sheet)
    found = made(add_up(given_entries, MONTH), sheet=sheet, into="USD")
    assert found.currency == "USD"
    assert found.cost_micro == sum(line.cost_micro for line in found.lines)
    assert abs(found.cost_micro - own.cost_micro / 0.83) <= 1
    assert found.price_micro == sum(one.price_micro for one in found.tenants)
    assert found.machines.used_micro + found.machines.idle_micro == found.machines.total_micro


@settings(deadline=None)
@given(st.integers(-(10**15), 10**15), st.dictionaries(st.text(max_size=3), st.integers(0, 10**9), min_size=1))
def test_parts_are_off_by_less_than_one_and_add_up(amount, weights):
    if not any(weights.values()):
        with pytest.raises(ValueError, match="nothing to split by"):
            apportion(amount, weights)
        return
    parts, whole = apportion(amount, weights), sum(weights.values())
    assert sum(parts.values()) == amount
    assert all(abs(parts[name] * whole - amount * weight) < whole for name, weight in weights.items())


def test_the_machines_of_a_whole_idle_month_cost_its_hours(request_entry):
    own = machines(costs(), {}, MONTH, until=AFTER, into="EUR")
    fixed_and_idle = 744 * (17.4857 - 8 * 1.54 * 0.15 + 2 * 1.54 * 0.15)
    assert own.hours == 744
    assert own.total_micro == pytest.approx(fixed_and_idle * 1e6, rel=1e-4)
    assert (own.used_micro, own.idle_micro) == (0, own.total_micro)
    assert own.energy_kwh == pytest.approx(744 * 2 * 1.54)


def test_a_month_under_way_counts_as_far_as_it_has_come():
    half = machines(costs(), {}, MONTH, until=MONTH.begin + 1800, into="EUR")
    whole = machines(costs(), {}, MONTH, until=MONTH.begin + 3600, into="EUR")
    assert abs(whole.total_micro - 2 * half.total_micro) <= 6


def test_a_machine_that_was_busy_all_of_the_hour_so_far_draws_its_full_power(request_entry: Make):
    """Half an hour of work in half an hour is busy, not half busy."""
    at = MONTH.begin + 10
    table = add_up([request_entry(at=at, engine_s=1800.0)], MONTH)
    half = machines(costs(), table, MONTH, until=MONTH.begin + 1800, into="EUR")
    assert half.energy_kwh == pytest.approx(8 * 0.5 * 1.54)
    assert half.busy_share == pytest.approx(1.0)
    later = machines(costs(), table, MONTH, until=MONTH.begin + 5400, into="EUR")
    assert later.busy_share == pytest.approx(1 / 3)


def test_an_hour_in_which_the_tariff_changes_costs_both_prices(request_entry: Make):
    text = COSTS.replace('zone = "UTC"', 'zone = "Asia/Kolkata"').replace(
        "per_kwh = 0.15", 'per_kwh = 0.10\nhours = "22-6"\n[[tariffs.bands]]\nper_kwh = 0.30\nhours = "6-22"'
    )
    sheet = Sheet(parse_toml(text, CostFile, where="costs.toml"))
    hour = machines(sheet, {}, MONTH, until=MONTH.begin + 3600, into="EUR")
    assert hour.by_kind["energy"] == pytest.approx(2 * 1.54 * 0.20 * 1e6, abs=1)
    most = machines(sheet, {}, MONTH, until=MONTH.begin + 2700, into="EUR")  # half an hour of night, a quarter of day
    assert most.by_kind["energy"] == pytest.approx(2 * 1.54 * (0.5 * 0.10 + 0.25 * 0.30) * 1e6, abs=1)


def test_busy_machines_draw_more(request_entry: Make):
    table = add_up([request_entry(engine_s=1800.0, cost_micro=1)], MONTH)
    own = machines(costs(), table, MONTH, until=MONTH.begin + 3600, into="EUR")
    assert own.busy_share == pytest.approx(0.5)
    assert own.energy_kwh == pytest.approx((2 + 0.5 * 6) * 1.54)


def test_idle_time_is_borne_by_busiest_hours_and_not_by_tokens(request_entry: Make):
    steady = [request_entry(at=OCTOBER + hour * 3600, cost_micro=100, prompt_tokens=9999) for hour in range(10)]
    burst = [request_entry(tenant="beta", cost_micro=300, prompt_tokens=1)]
    table = add_up([*steady, *burst], MONTH)
    assert allocated(1000, table, "peak") == {"acme": 250, "beta": 750}
    assert allocated(1300, table, "usage") == {"acme": 1000, "beta": 300}
    reserved = costs("\n[reserved]\nacme = 0.4\n")
    assert allocated(1000, table, "reserved", reserved) == {"acme": 400, HOUSE: 600}
    assert allocated(1000, {}, "peak") == {HOUSE: 1000}


def test_entries_that_say_more_than_the_machines_cost_are_told(request_entry: Make):
    found = made(add_up([request_entry(cost_micro=10**12)], MONTH), sheet=costs())
    assert found.machines.idle_micro < 0
    assert any("more than the machines cost" in note for note in found.notes)


def test_shadows_and_failed_canaries_cost_the_house_and_are_billed_to_nobody(request_entry: Make):
    shadow = request_entry(arm="shadow", price_micro=7, cost_micro=5)
    canary = request_entry(request_id="req-x-canary", price_micro=7, cost_micro=5)
    found = made(add_up([shadow, canary, request_entry(price_micro=7, cost_micro=5)], MONTH))
    assert {one.tenant: (one.price_micro, one.cost_micro) for one in found.tenants} == {"acme": (7, 5), HOUSE: (0, 10)}


def test_only_the_month_counts_and_a_version_is_its_model(request_entry: Make):
    at = [MONTH.begin - 0.001, MONTH.begin, MONTH.end - 0.001, MONTH.end]
    table = add_up([request_entry(at=one, model=f"complete@{n}") for n, one in enumerate(at)], MONTH)
    found = made(table)
    assert found.requests == 2
    assert [(line.model, line.requests) for line in found.lines] == [("complete", 2)]


def test_what_is_owed_is_the_price_or_the_cost_in_whole_cents(request_entry: Make):
    table = add_up([request_entry(price_micro=1_234_999, cost_micro=995_000)], MONTH)
    assert made(table, charge="chargeback").tenants[0].owed_minor == 123
    assert made(table, charge="showback").tenants[0].owed_minor == 100
    assert [minor(5_000, 2), minor(15_000, 2), minor(-5_001, 2)] == [0, 2, -1]


@pytest.mark.parametrize(("currency", "owed", "shown"), [("JPY", 1235, "1235"), ("KWD", 1234567, "1234.567")])
def test_what_is_owed_is_in_the_smallest_amount_that_can_be_paid(
    request_entry: Make, currency: str, owed: int, shown: str
):
    table = add_up([request_entry(cost_micro=1_234_567_400)], MONTH)
    rate = f'\n[[rates]]\ncurrency = "{currency}"\nsince = 2026-01-01\nrate = 1.0\n'
    plain = statement(table, Wanted(month=MONTH, currency=currency), now=AFTER, ledger={})
    converted = statement(
        table, Wanted(month=MONTH, currency="EUR", into=currency), now=AFTER, ledger={}, sheet=costs(rate)
    )
    for found in (plain, converted):
        assert found.tenants[0].owed_minor == owed
        assert any(line.startswith("acme") and line.endswith(f" {shown}") for line in statement_lines(found))


@settings(max_examples=25, deadline=None)
@given(st.lists(entries, max_size=20), st.floats(0.01, 200))
def test_idle_time_in_another_currency_is_borne_to_the_last_millionth(given_entries, rate):
    sheet = costs(f'\n[[rates]]\ncurrency = "USD"\nsince = 2026-01-01\nrate = {rate!r}\n')
    found = made(add_up(given_entries, MONTH), sheet=sheet, basis="allocation", into="USD")
    assert sum(one.idle_micro for one in found.tenants) == found.machines.idle_micro
    borne = sum(one.cost_micro + one.idle_micro for one in found.tenants)
    assert borne == found.machines.total_micro + found.elsewhere_micro


def test_requests_without_a_cost_are_counted_and_said(request_entry: Make):
    found = made(add_up([request_entry(prompt_tokens=1), request_entry(prompt_tokens=1, cost_micro=1)], MONTH))
    assert found.uncosted == 1
    assert "there is no costs file" in found.notes[0]
    told = made(add_up([request_entry(prompt_tokens=1)], MONTH), sheet=costs())
    assert "1 requests have tokens and no cost" in told.notes[0]


def test_a_basis_of_allocation_needs_machines_and_a_currency_needs_rates(request_entry: Make):
    with pytest.raises(ConfigError, match="allocation needs a costs file"):
        made({}, basis="allocation")
    with pytest.raises(ConfigError, match="there is none"):
        made({}, into="USD")
    with pytest.raises(ConfigError, match="what USD is worth"):
        made({}, into="USD", sheet=costs())


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-00", "october", "1969-12", "2026-1"])
def test_a_month_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="write a month such as 2026-10"):
        month_of(text)


def test_december_ends_with_the_year():
    assert month_of("2026-12").end == month_of("2027-01").begin


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_entries=st.lists(entries, max_size=30))
def test_the_ledgers_tables_in_sql_say_the_same(given_entries, tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("ledger")
    with Ledger(folder / "log", "gateway-0") as ledger:
        for entry in given_entries:
            ledger.append(entry)
    found = month_sums(folder / "log", MONTH)
    assert sum(found.ledger.values()) == len(given_entries)
    with Views(folder / "log", Sqlite(folder / "ledger.db")) as views:
        assert reconcile(views, found.table, MONTH, ledger=found.ledger) == []


def test_a_statement_that_the_tables_contradict_is_found_out(tmp_path, request_entry: Make):
    with Ledger(tmp_path / "log", "gateway-0") as ledger:
        ledger.append(request_entry(cost_micro=5))
    found = month_sums(tmp_path / "log", MONTH)
    key, sums = next(iter(found.table.items()))
    with Views(tmp_path / "log", Sqlite(tmp_path / "ledger.db")) as views:
        wrong = reconcile(views, {key: sums._replace(cost_micro=6)}, MONTH, ledger=found.ledger)
    assert [(one.tenant, one.figure, one.statement, one.tables) for one in wrong] == [("acme", "cost_micro", 6, 5)]


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -1.0])
def test_joules_that_are_none_are_counted_as_unmetered(request_entry: Make, nonsense):
    found = made(add_up([request_entry(joules=nonsense), request_entry(joules=2.0, engine_s=nonsense)], MONTH))
    assert (found.unmetered, found.lines[0].joules, found.lines[0].engine_s) == (1, 2.0, 0.0)
