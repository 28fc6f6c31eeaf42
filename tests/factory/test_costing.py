"""Costs of one home: the file in it, what is asked of the settings, and statements over a real ledger."""

from __future__ import annotations

import json
from typing import NamedTuple

import msgspec
import pytest
from typer.testing import CliRunner

from metering.costs import COSTS, OCTOBER
from tokenworks.cli.main import app
from tokenworks.core.errors import ConfigError, IntegrityError, TokenworksError
from tokenworks.factory.billing import bill, carbon, check_bill
from tokenworks.factory.costing import costing
from tokenworks.factory.deferring import deferring
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.views import stats
from tokenworks.ledger.writer import Ledger
from tokenworks.metering.deferral import at_once
from tokenworks.settings import load_settings


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def home(tmp_path):
    """A home with a costs file and three requests of October on its ledger."""
    (tmp_path / "costs.toml").write_text(COSTS + '\n[carbon]\nzone = "DE"\n')
    with Ledger(tmp_path / "ledger", "gateway-0") as ledger:
        for number, (tenant, price) in enumerate((("acme", 1000), ("acme", 500), ("beta", 7))):
            ledger.append(answered(f"req-{number}", tenant=tenant, price_micro=price, cost_micro=11, prompt_tokens=5))
    return tmp_path


def answered(name, **given):
    common = {"endpoint": "completions", "outcome": "ok", "status": 200, "model": "complete", "version": "complete@1"}
    return RequestEntry(at=OCTOBER + 10, request_id=name, **common, **given)


def loaded(home, **environ):
    return load_settings(environ={f"TOKENWORKS_{name.upper()}": value for name, value in environ.items()}, home=home)


def command(home, *words):
    """Run the command in this process; a `TokenworksError` that would end it is its exit code and last words."""
    done = CliRunner().invoke(app, ["--home", str(home), *words])
    if isinstance(done.exception, TokenworksError):
        return Done(done.exception.exit_code, done.stdout, str(done.exception))
    return Done(done.exit_code, done.stdout, done.stderr)


def test_without_prices_and_a_costs_file_no_layer_is_added(tmp_path):
    assert costing(loaded(tmp_path)) is None
    assert costing(load_settings(environ={}, home=tmp_path)) is None


def test_a_costs_file_in_the_home_is_found_and_one_that_is_named_must_be_there(home, tmp_path):
    assert costing(loaded(home)) is not None
    with pytest.raises(ConfigError, match="there is no such file"):
        costing(loaded(tmp_path / "other", costs__file=str(tmp_path / "none.toml")))


def test_a_price_list_in_another_currency_needs_a_rate_before_the_first_request(home):
    with pytest.raises(ConfigError, match="what USD is worth in EUR"):
        costing(loaded(home, prices__currency="USD"))


def test_a_wrong_key_in_the_costs_file_is_named_with_its_line(home):
    (home / "costs.toml").write_text(COSTS.replace("residual", "resdiual"))
    with pytest.raises(ConfigError, match=r"costs.toml line \d+: unknown key 'resdiual'.*did you mean 'residual'"):
        costing(loaded(home))


def test_the_statement_and_the_tables_agree_and_a_difference_is_an_error(home):
    settings = loaded(home)
    billed = bill(settings, "2026-10", now=OCTOBER + 40 * 86400)
    assert (billed.statement.requests, billed.statement.price_micro, billed.statement.cost_micro) == (3, 1507, 33)
    assert billed.statement.ledger == {"gateway-0": 3}
    check_bill(settings, billed)
    key, sums = next(iter(billed.table.items()))
    with pytest.raises(IntegrityError, match="1 figures of the statement are not those of the ledger's tables"):
        check_bill(settings, msgspec.structs.replace(billed, table={**billed.table, key: sums._replace(requests=9)}))


def test_the_command_prints_text_json_csv_and_focus(home):
    text = command(home, "report", "statement", "--month", "2026-10", "--check")
    assert text.returncode == 0, text.stderr
    assert "Statement 2026-10" in text.stdout
    assert "0.001500" in text.stdout
    assert "say the same" in text.stderr
    found = command(home, "--json", "report", "statement", "--month", "2026-10", "--tenant", "acme")
    assert json.loads(found.stdout)["price_micro"] == 1500
    rows = command(home, "report", "statement", "--month", "2026-10", "--format", "csv").stdout.splitlines()
    assert rows[0].startswith("month,currency,tenant,project,model")
    assert len(rows) == 3
    out = home / "focus.csv"
    words = ("--format", "focus", "--charge", "chargeback", "--issuer", "The House", "--out", str(out))
    assert command(home, "report", "statement", "--month", "2026-10", *words).returncode == 0
    assert out.read_text().startswith("BilledCost,BillingAccountId,")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--month", "yesterday"), "write a month such as 2026-10"),
        (("--month", "2026-10", "--format", "pdf"), "write text, json, csv or focus"),
        (("--month", "2026-10", "--currency", "ZZZ"), "'ZZZ' is no currency"),
    ],
)
def test_what_cannot_be_meant_ends_with_two(home, words, said):
    done = command(home, "report", "statement", *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_the_months_carbon_is_told_by_the_command_and_needs_machines(home, tmp_path):
    done = command(home, "report", "carbon", "--month", "2026-10")
    assert done.returncode == 0, done.stderr
    assert "344.0 g/kWh in DE" in done.stdout
    assert "g per request" in done.stdout
    with pytest.raises(ConfigError, match="there is no costs file"):
        carbon(loaded(tmp_path / "other"), "2026-10", now=OCTOBER)


def test_work_is_deferred_by_the_tariff_or_a_signal_or_not_at_all(home):
    assert deferring(loaded(home)) is at_once
    flat = deferring(loaded(home, deferral__by="tariff_aware"))
    assert flat(OCTOBER, OCTOBER, OCTOBER + 86400).now
    with pytest.raises(ConfigError, match=r"needs \[carbon\] signal"):
        deferring(loaded(home, deferral__by="carbon_aware"))
    (home / "costs.toml").write_text(COSTS + '\n[carbon]\nsignal = "s.csv"\n')
    (home / "s.csv").write_text("time,g_per_kwh\n2026-10-01T00:00,400\n2026-10-01T02:00,100\n2026-10-01T04:00,100\n")
    green = deferring(loaded(home, deferral__by="carbon_aware", deferral__length_h="1"))
    assert green(OCTOBER, OCTOBER, OCTOBER + 86400).at == OCTOBER + 2 * 3600
    (home / "s.csv").write_text("time,g_per_kwh\n2026-10-01T00:00,100\n2026-10-01T02:00,400\n")  # a new forecast
    assert green(OCTOBER, OCTOBER, OCTOBER + 86400).now
    (home / "s.csv").write_text("nonsense")  # a broken one leaves the last in force
    assert green(OCTOBER, OCTOBER, OCTOBER + 86400).now


def test_deferring_without_a_costs_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no costs file"):
        deferring(loaded(tmp_path, deferral__by="tariff_aware"))


def test_ledger_stats_and_the_statement_agree(home):
    found = stats(home / "ledger")
    said = bill(loaded(home), "2026-10", now=OCTOBER + 40 * 86400).statement
    assert (found.requests, found.price_micro, found.cost_micro) == (said.requests, said.price_micro, said.cost_micro)
    assert found.prompt_tokens == sum(line.input_tokens for line in said.lines)


def test_a_remote_that_asks_less_for_what_it_has_already_costs_less(home, tmp_path):
    from tokenworks.core.usage import Spent, Usage
    from tokenworks.factory.costing import _costs, costs_sheet

    remote = '[[engines.remotes]]\nname = "far"\nurl = "https://far.example/v1"\nprice_in = 10.0\nprice_out = 50.0\n'
    usage = Usage(prompt_tokens=1000, cached_tokens=900, completion_tokens=10)

    def micro(more):
        (tmp_path / "house.toml").write_text(remote + more)
        settings = load_settings(tmp_path / "house.toml", environ={}, home=home)
        costs = _costs(settings, costs_sheet(settings))
        return costs.micro(at=OCTOBER, model="complete", place="far", usage=usage, spent=Spent())

    assert micro("") == 1000 * 10 + 10 * 50
    assert micro("price_cached = 1.0\n") == 100 * 10 + 900 * 1 + 10 * 50
    for wrong in ("price_cached = inf\n", "price_cached = -1.0\n"):
        with pytest.raises(ConfigError, match="price_cached"):
            micro(wrong)
