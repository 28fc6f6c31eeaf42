"""A served process under the model of its machine: the ledger's sums and the month's statement tell the same."""

import json
import time
from datetime import UTC, datetime

import openai
import pytest

from system.processes import Running, tokenworks

pytestmark = pytest.mark.xdist_group("metering")
CONFIG = """
[meter]
source = "model"
idle_w = 20
busy_w = 65
interval_s = 0.1
entry_s = 0.4
[flywheel]
look_s = 0
[prices.models."*"]
input = 1.0
output = 3.0
"""
COSTS = """
as_of = 2026-10-01
currency = "EUR"
[[nodes]]
name = "a"
since = 2025-01-01
price = 28000
life_years = 40  # not paid off while this test is run
idle_kw = 0.02
busy_kw = 0.065
pue = 1.5
[[tariffs]]
since = 2020-01-01
[[tariffs.bands]]
per_kwh = 0.3
[carbon]
zone = "DE"
"""
CLAIM = """
name = "{joules_per_token} J a token"
by = "ACME"
[claim]
joules_per_token = {joules_per_token}
[conditions]
model = "tiny"
concurrency = 2
prompt_tokens = 24
answer_tokens = 24
[run]
address = "{url}"
served_as = "{model}"
key_file = "{key}"
[rule]
interval = 0.9
idle_s = 0.5
rounds = [3, 4]
requests_per_round = 8
"""


@pytest.fixture(scope="module")
def metered(tmp_path_factory, tiny_llama):
    """A metered server with requests behind it; `--config` for commands over the same home."""
    pytest.importorskip("openvino_genai", reason="the extra 'generate' is not installed")
    folder = tmp_path_factory.mktemp("metering")
    (folder / "house.toml").write_text(CONFIG)
    home = folder / "home"
    home.mkdir()
    (home / "costs.toml").write_text(COSTS)
    running = Running(home, "--config", str(folder / "house.toml"), "serve", "--model", str(tiny_llama))
    running.folder, running.model = folder, tiny_llama.name
    running.config = ("--config", str(folder / "house.toml"))
    try:
        running.until(r"Try it|" + running.model)
        running.asked = ask(running)
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def ask(running):
    """Ask in several ways until requests have joules; return how many were answered."""
    api = openai.OpenAI(base_url=f"{running.url}/v1", api_key=running.key, max_retries=10)
    said = {"model": running.model, "max_tokens": 24, "extra_body": {"ignore_eos": True}}
    until_s, asked, told = time.monotonic() + 60, 0, 0
    while told < 4 and time.monotonic() < until_s:
        whole = api.completions.create(prompt="the card is lost", **said)
        list(api.completions.create(prompt="what now", stream=True, **said))
        asked, told = asked + 2, told + ("joules" in whole.usage.model_dump()["spent"])
    assert told >= 4
    return asked


def said(running, *words):
    done = tokenworks(running.home, *running.config, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def this_month():
    return datetime.now(UTC).strftime("%Y-%m")


def told(running):
    return said(running, "--json", "report", "statement", "--month", this_month(), "--check")


def told_alike(running):
    return told(running), said(running, "--json", "ledger", "stats", "--month", this_month())


def test_the_statement_and_the_stats_tell_the_same_tokens_seconds_joules_and_costs(metered):
    statement, stats = told_alike(metered)
    lines = statement["lines"]
    assert stats["requests"] == statement["requests"] >= metered.asked
    assert stats["prompt_tokens"] == sum(one["input_tokens"] for one in lines) > 0
    assert stats["cached_tokens"] == sum(one["cached_tokens"] for one in lines)
    assert stats["completion_tokens"] == sum(one["output_tokens"] for one in lines) >= 24 * metered.asked
    assert stats["price_micro"] == statement["price_micro"] > 0
    assert stats["cost_micro"] == statement["cost_micro"] > 0
    assert stats["engine_s"] == pytest.approx(sum(one["engine_s"] for one in lines), abs=1e-6 * stats["requests"]) != 0
    joules = sum(one["joules"] or 0 for one in lines)
    assert stats["joules"] == pytest.approx(joules, abs=1e-6 * stats["requests"])
    assert joules > 0
    errors = sum((one["joules"] or 0) * one["joules_error"] for one in lines)
    assert stats["joules_error"] == pytest.approx(errors / joules, rel=1e-3) != 0


def test_attributed_and_idle_is_what_was_metered_in_both(metered):
    metered_j = 0.0
    until_s = time.monotonic() + 20
    while not metered_j and time.monotonic() < until_s:  # for the first entry of the meter with something idle in it
        statement = told(metered)
        metered_j = (statement["energy"] or {}).get("idle_uj", 0) / 1e6
    energy = statement["energy"]
    assert energy["requests_uj"] + energy["other_uj"] + energy["idle_uj"] == energy["metered_uj"] > 0
    assert energy["told_uj"] + energy["untold_uj"] + energy["unsettled_uj"] == energy["requests_uj"]
    assert abs(energy["unsettled_uj"]) < 0.02 * energy["metered_uj"] + 1e6  # what ended since the last entry
    assert list(energy["meters"]) == ["model"]
    assert statement["machines"]["metered_kwh"] == pytest.approx(1.5 * energy["metered_uj"] / 3.6e12)


def claimed(running, joules_per_token, config):
    (running.folder / "key").write_text(running.key)
    fields = {"url": running.url, "model": running.model, "key": running.folder / "key"}
    (running.folder / "claim.toml").write_text(CLAIM.format(joules_per_token=joules_per_token, **fields))
    words = ("claim", "check", str(running.folder / "claim.toml"), "--json")
    done = tokenworks(running.home, *config, *words)
    return done, json.loads(done.stdout or "{}")


def test_a_true_and_a_false_claim_about_joules_get_the_right_verdicts(metered):
    true, report = claimed(metered, 1e6, metered.config)
    assert true.returncode == 0, true.stderr + true.stdout
    (figure,) = report["figures"]
    assert 0 < figure["measured"]["mean"] < 65 * 60
    # The model counts the processors of the whole machine: where others are at work on it, it says that it cannot tell.
    by_meter = "by the meter model (grade model, standard uncertainty" in figure["because"]
    assert by_meter or "joules: not by the meter of this machine" in report["explained"][-1]
    false, report = claimed(metered, 1e-9, metered.config)
    assert false.returncode == 1, false.stderr + false.stdout


def test_without_a_meter_of_ones_own_the_answers_are_believed_and_named(metered, tmp_path):
    (tmp_path / "plain.toml").write_text("")
    done, report = claimed(metered, 1e6, ("--config", str(tmp_path / "plain.toml")))
    assert done.returncode == 0, done.stderr + done.stdout
    assert "as the server's answers tell (grade model" in report["figures"][0]["because"]


def test_when_the_server_has_ended_the_sums_of_the_meter_agree_too(metered):
    metered.stop()
    statement, stats = told_alike(metered)
    energy = statement["energy"]
    for name in ("metered", "requests", "other", "idle", "untold", "unsettled"):
        assert stats["energy"][f"{name}_j"] == pytest.approx(energy[f"{name}_uj"] / 1e6, abs=1e-3)
    assert abs(energy["unsettled_uj"]) < 1e-3 * energy["metered_uj"] + 0.5e6
    carbon = said(metered, "--json", "report", "carbon", "--month", statement["month"])
    assert carbon["metered_kwh"] == pytest.approx(statement["machines"]["metered_kwh"])
    assert carbon["energy"] == energy
