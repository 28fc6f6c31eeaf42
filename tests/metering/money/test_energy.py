"""A month's energy: what was metered adds up to the last millionth, is counted once, and gaps are seen."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.costs import COSTS
from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import parse_toml
from tokenworks.ledger.entries import EnergyEntry, RequestEntry
from tokenworks.ledger.sql.database import Sqlite
from tokenworks.ledger.sql.views import Views, open_views
from tokenworks.ledger.views import stats
from tokenworks.ledger.writer import Ledger
from tokenworks.metering.money.costs_file import CostFile, Sheet
from tokenworks.metering.money.drawn import Drawing, metered_node
from tokenworks.metering.money.energy import Metering, energy_lines
from tokenworks.metering.money.metered import metered_hours, together
from tokenworks.metering.money.month import month_of
from tokenworks.metering.money.reconcile import reconcile
from tokenworks.metering.money.shown import statement_lines
from tokenworks.metering.money.statement import Statement, Wanted, statement
from tokenworks.metering.money.sums import add_up, month_sums

MONTH = month_of("2026-10")
HOUR = 3600.0
SHEET = Sheet(parse_toml(COSTS, CostFile, where="costs.toml"))
joules = st.floats(0, 1e7, allow_subnormal=False)


def of_meter(at: float, seconds: float, *, idle: float = 0.0, requests: float = 0.0, other: float = 0.0, **more):
    facts = {"requests_j": requests, "idle_j": idle, "other_j": other, "metered_j": requests + idle + other}
    return EnergyEntry(at=at, seconds=seconds, **{"meter": "rapl", "error": 0.05, **facts, **more})


meters = st.builds(
    of_meter,
    at=st.floats(MONTH.begin - 7200, MONTH.end + 7200),
    seconds=st.floats(0.001, 3 * HOUR),
    idle=joules,
    requests=joules,
    other=joules,
    untold_j=st.floats(-1e3, 1e3),
    gap_s=st.floats(0, HOUR),
    engine_s=st.floats(0, 100),
    meter=st.sampled_from(["rapl", "model", "wall"]),
)
asked = st.builds(
    RequestEntry,
    at=st.floats(MONTH.begin, MONTH.end - 1),
    request_id=st.just("r"),
    endpoint=st.just("completions"),
    outcome=st.just("ok"),
    status=st.just(200),
    tenant=st.sampled_from(["acme", "beta"]),
    engine_s=st.floats(0, 100),
    joules=st.none() | joules,
)


def made(entries: list[RequestEntry], read: list[EnergyEntry], *, now: float = MONTH.end, sheet=SHEET) -> Statement:
    wanted = Wanted(month=MONTH, currency="EUR")
    metering = Metering(*metered_hours(read, MONTH))
    return statement(add_up(entries, MONTH), wanted, now=now, ledger={}, sheet=sheet, metering=metering)


@settings(max_examples=60, deadline=None)
@given(st.lists(asked, max_size=10), st.lists(meters, min_size=1, max_size=12))
def test_attributed_and_idle_is_metered_to_the_last_millionth(entries, read):
    found = made(entries, read).energy
    if found is None:  # every entry lies outside
        return
    assert found.requests_uj + found.other_uj + found.idle_uj == found.metered_uj
    assert found.told_uj + found.untold_uj + found.unsettled_uj == found.requests_uj
    assert found.told_uj == sum(round(one.joules * 1e6) for one in entries if one.joules is not None)
    assert sum(one.joules for one in found.stretches) == pytest.approx(found.metered_uj / 1e6)
    assert sum(found.meters.values()) == pytest.approx(found.metered_uj / 1e6)
    assert sum(one.hours for one in found.stretches) == sum(found.hours.values()) == 744


@settings(max_examples=12, deadline=None)
@given(st.lists(asked, max_size=10), st.lists(meters, max_size=12))
def test_the_statement_the_stats_and_the_tables_say_the_same_joules(entries, read):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Ledger(folder / "log", "gateway-0") as ledger:
            for one in [*entries, *read]:
                ledger.append(one)
        sums = month_sums(folder / "log", MONTH)
        hours, doubtful = metered_hours(sums.energy, MONTH)
        assert doubtful == 0
        by_stats = stats(folder / "log", MONTH.begin, MONTH.end)
        with Views(folder / "log", Sqlite(folder / "ledger.db")) as views:
            assert reconcile(views, sums.table, MONTH, ledger=sums.ledger, hours=hours) == []
    told_j = sum(one.joules_micro for one in sums.table.values()) / 1e6
    assert by_stats.joules == pytest.approx(told_j, abs=1e-5)
    whole = together(hours)
    if by_stats.energy is None:
        assert whole.metered_uj == 0
        return
    for name in ("metered", "requests", "other", "idle", "untold"):
        ours, theirs = getattr(whole, f"{name}_uj") / 1e6, getattr(by_stats.energy, f"{name}_j")
        assert theirs == pytest.approx(ours, rel=1e-9, abs=1e-4)
    assert by_stats.energy.gap_s == pytest.approx(whole.gap_us / 1e6, abs=1e-4)


def test_joules_that_the_tables_have_otherwise_are_found_out(tmp_path):
    with Ledger(tmp_path / "log", "gateway-0") as ledger:
        ledger.append(of_meter(MONTH.begin + 60, 60, idle=100.0))
        ledger.append(RequestEntry(at=MONTH.begin, request_id="r", endpoint="c", outcome="ok", status=200, joules=3.0))
    sums = month_sums(tmp_path / "log", MONTH)
    hours, _ = metered_hours(sums.energy, MONTH)
    wrong_hours = {hour: one._replace(idle_uj=one.idle_uj + 100) for hour, one in hours.items()}
    wrong_table = {key: one._replace(joules_micro=one.joules_micro + 100) for key, one in sums.table.items()}
    with Views(tmp_path / "log", Sqlite(tmp_path / "ledger.db")) as views:
        assert reconcile(views, sums.table, MONTH, ledger=sums.ledger, hours=hours) == []
        wrong = reconcile(views, wrong_table, MONTH, ledger=sums.ledger, hours=wrong_hours)
    assert [one.figure for one in wrong] == ["joules_micro", "metered_uj", "idle_uj"]


@pytest.mark.postgres
def test_tables_in_postgres_say_the_same_joules(tmp_path, postgres_url):
    with Ledger(tmp_path / "log", "gateway-0") as ledger:
        ledger.append(of_meter(MONTH.begin + 30, 60, idle=100.0, requests=40.0, gap_s=20.0))
        ledger.append(of_meter(MONTH.begin + 90, 60, idle=100.0, other=7.0))
        ledger.append(work(MONTH.begin + 5, 2.5))
    sums = month_sums(tmp_path / "log", MONTH)
    hours, _ = metered_hours(sums.energy, MONTH)
    wrong = {hour: one._replace(other_uj=one.other_uj + 100) for hour, one in hours.items()}
    with open_views(tmp_path / "log", tmp_path / "views", postgres_url) as views:
        assert reconcile(views, sums.table, MONTH, ledger=sums.ledger, hours=hours) == []
        found = reconcile(views, sums.table, MONTH, ledger=sums.ledger, hours=wrong)
    assert [one.figure for one in found] == ["metered_uj", "other_uj"]


def test_what_was_written_after_the_statement_does_not_contradict_it(tmp_path):
    with Ledger(tmp_path / "log", "gateway-0") as ledger:
        ledger.append(of_meter(MONTH.begin + 60, 60, idle=100.0))
        sums = month_sums(tmp_path / "log", MONTH)
        ledger.append(of_meter(MONTH.begin + 120, 60, idle=100.0))
    hours, _ = metered_hours(sums.energy, MONTH)
    with Views(tmp_path / "log", Sqlite(tmp_path / "ledger.db")) as views:
        assert reconcile(views, sums.table, MONTH, ledger=sums.ledger, hours=hours) == []


def work(at: float, engine_s: float) -> RequestEntry:
    facts = {"request_id": "r", "endpoint": "completions", "outcome": "ok", "status": 200}
    return RequestEntry(at=at, engine_s=engine_s, joules=engine_s * 100, **facts)


def kwh(entries: list[RequestEntry], read: list[EnergyEntry], hours: int = 1) -> tuple[float, float]:
    own = made(entries, read, now=MONTH.begin + hours * HOUR).machines
    return own.metered_kwh, own.energy_kwh - own.metered_kwh


def test_a_metered_hour_is_what_the_meter_says_however_busy_the_requests_were():
    read = [of_meter(MONTH.begin + HOUR, HOUR, idle=7.2e6, requests=3.6e6, engine_s=3000.0)]
    for entries in ([], [work(MONTH.begin + 10, 600.0)], [work(MONTH.begin + 10, 3000.0)]):
        assert kwh(entries, read) == (pytest.approx(3 * 1.54), 0.0)


def test_only_the_time_without_a_meter_is_modelled_and_only_its_work():
    half = [of_meter(MONTH.begin + HOUR / 2, HOUR / 2, idle=3.6e6, engine_s=900.0)]
    inside = kwh([work(MONTH.begin + 10, 900.0)], half)
    assert inside == (pytest.approx(1.54), pytest.approx(0.5 * 2 * 1.54))  # all of the work is in the metered half
    both = kwh([work(MONTH.begin + 10, 900.0), work(MONTH.begin + 3000, 900.0)], half)
    assert both == (pytest.approx(1.54), pytest.approx(0.5 * (2 + 0.5 * 6) * 1.54))
    assert kwh([work(MONTH.begin + 10, 900.0)], []) == (0.0, pytest.approx((2 + 0.25 * 6) * 1.54))


def test_a_gap_is_modelled_and_marked():
    read = [
        of_meter(MONTH.begin + HOUR, HOUR, idle=3.6e6),
        of_meter(MONTH.begin + 2 * HOUR, HOUR - 600, idle=3e6, gap_s=600.0, because="jumped back"),
        of_meter(MONTH.begin + 3 * HOUR, 0.0, gap_s=HOUR, because="no answer"),
    ]
    found = made([], read, now=MONTH.begin + 4 * HOUR)
    assert [(one.how, one.hours, one.gap_s) for one in found.energy.stretches] == [
        ("metered", 1, 0.0), ("in part", 1, pytest.approx(600)), ("gap", 1, pytest.approx(3600)),
        ("not metered", 1, 0.0),
    ]  # fmt: skip
    assert found.energy.hours == {"metered": 1, "in part": 1, "gap": 1, "not metered": 1}
    assert found.machines.energy_kwh - found.machines.metered_kwh == pytest.approx((600 / 3600 + 2) * 2 * 1.54)
    text = "\n".join(statement_lines(found))
    assert "2026-10-01T00Z    1 h  metered by rapl, 3600000.0 J" in text
    assert "2026-10-01T02Z    1 h  gap, gap 3600 s" in text


def test_an_hour_has_the_grade_of_its_worst_reading_and_the_uncertainty_of_its_joules():
    read = [
        of_meter(MONTH.begin + 1800, 1800, idle=300.0, meter="wall", error=0.01),
        of_meter(MONTH.begin + 3600, 1800, idle=100.0, meter="model", error=0.3),
    ]
    found = made([], read, now=MONTH.begin + HOUR).energy
    assert found.stretches[0].meter == "model"
    assert found.error == pytest.approx((300 * 0.01 + 100 * 0.3) / 400)


def test_what_the_meter_does_not_see_of_a_machine_is_added():
    sheet = Sheet(parse_toml(COSTS.replace("pue = 1.54", "pue = 1.5\nmetered_share = 0.5"), CostFile, where="c"))
    found = made([], [of_meter(MONTH.begin + HOUR, HOUR, idle=3.6e6)], now=MONTH.begin + HOUR, sheet=sheet)
    assert found.machines.metered_kwh == pytest.approx(1 / 0.5 * 1.5)
    assert found.machines.by_kind["energy"] == round(3 * 0.15 * 1e6)


def test_two_meters_at_once_are_seen_and_nothing_is_modelled_besides():
    read = [of_meter(MONTH.begin + HOUR, HOUR, idle=3.6e6)] * 2
    found = made([], read, now=MONTH.begin + HOUR)
    assert found.energy.doubled == 1
    assert found.machines.energy_kwh == found.machines.metered_kwh
    assert any("more metered time than an hour has" in line for line in energy_lines(found.energy, modelled=True))


def test_entries_that_cannot_be_meant_are_counted_and_said():
    read = [of_meter(MONTH.begin + 60, 60, idle=60.0, metered_j=1e9)]
    found = made([], read, now=MONTH.begin + HOUR)
    assert (found.energy.doubtful, found.energy.metered_uj, found.machines.metered_kwh) == (1, 0, 0.0)
    assert any("1 entries of the meter cannot be meant" in line for line in statement_lines(found))


def test_joules_of_requests_that_no_entry_of_the_meter_has_are_said():
    read = [of_meter(MONTH.begin + HOUR, HOUR, idle=100.0, requests=100.0)]
    whole, lost = made([work(MONTH.begin, 1.0)], read), made([work(MONTH.begin, 1.0)] * 2, read)
    assert (whole.energy.unsettled_uj, lost.energy.unsettled_uj) == (0, -100_000_000)
    assert not any("further apart" in line for line in statement_lines(whole))
    assert any("further apart" in line for line in statement_lines(lost))


def test_with_two_machines_somebody_has_to_say_which_is_metered():
    second = COSTS[COSTS.index("[[nodes]]") : COSTS.index("[[tariffs]]")].replace('"a"', '"b"')
    sheet = Sheet(parse_toml(COSTS + second, CostFile, where="costs.toml"))
    read = [of_meter(MONTH.begin + HOUR, HOUR, idle=3.6e6)]
    found = made([], read, now=MONTH.begin + HOUR, sheet=sheet)
    assert found.machines.metered_kwh == 0
    assert any("costs.node" in note for note in found.notes)
    own = metered_node(sheet, "b")
    hours, _ = metered_hours(read, MONTH)
    drawing = Drawing(sheet, {}, begin=MONTH.begin, end=MONTH.begin + HOUR, own=own, metered=hours)
    assert [next(drawing.of(node)).metered_kwh for node in sheet.file.nodes] == [0, Decimal("1.54")]
    with pytest.raises(ConfigError, match=r"costs\.toml has a, b"):
        metered_node(sheet, "c")


def test_without_a_meter_everything_is_as_before_and_said_to_be_modelled():
    found = made([work(MONTH.begin, 10.0)], [])
    assert found.energy is None
    assert any("no meter was read: all of it is modelled" in line for line in statement_lines(found))


def test_one_tenants_statement_does_not_tell_what_the_house_metered():
    wanted = Wanted(month=MONTH, currency="EUR", tenant="acme")
    metering = Metering(*metered_hours([of_meter(MONTH.begin + 60, 60, idle=60.0)], MONTH))
    found = statement({}, wanted, now=MONTH.end, ledger={}, sheet=SHEET, metering=metering)
    assert found.energy is None
    assert found.machines is None


def test_an_entry_in_two_hours_is_split_by_time():
    hours, _ = metered_hours([of_meter(MONTH.begin + HOUR + 15, 60, idle=60.0, engine_s=4.0)], MONTH)
    first, second = hours.values()
    assert (first.idle_uj, second.idle_uj) == (45_000_000, 15_000_000)
    assert (first.engine_us, second.engine_us) == (3_000_000, 1_000_000)


def test_a_statement_of_energy_is_plain_json():
    found = made([], [of_meter(MONTH.begin + 60, 60, idle=60.0)], now=MONTH.begin + HOUR)
    told = msgspec.json.decode(msgspec.json.encode(found))
    assert told["energy"]["stretches"][0]["how"] == "in part"
