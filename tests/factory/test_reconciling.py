"""One ledger with every kind of entry, and everybody who adds it up: they say the same, to the millionth."""

from __future__ import annotations

import csv
import io
import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from metering.costs import COSTS, OCTOBER
from tokenworks.cli.main import app
from tokenworks.core.ids import new_id
from tokenworks.factory.top import Top
from tokenworks.gateway.metrics import Metrics
from tokenworks.ledger.entries import EnergyEntry, FeedbackEntry, RequestEntry, Sent
from tokenworks.ledger.signing import open_key
from tokenworks.ledger.spending import load_spending
from tokenworks.ledger.writer import Ledger

MONTH, HOUR, DAYS = "2026-10", 3600.0, 31
FIGURES = ("prompt_tokens", "cached_tokens", "completion_tokens", "price_micro", "cost_micro")
WAYS: list[dict[str, Any]] = [
    {},
    {"outcome": "refused", "status": 429, "prompt_tokens": 0, "completion_tokens": 0, "engine_s": 0.0, "joules": None},
    {"outcome": "refused", "status": 401, "tenant": "", "model": "", "version": "", "prompt_tokens": 0},
    {"outcome": "failed", "status": 502},
    {"outcome": "cancelled", "status": 499},
    {"face": "batch"},
    {"face": "messages", "grant": "grant-1"},
    {"endpoint": "embeddings", "completion_tokens": 0},
    {"arm": "canary"},
    {"arm": "incumbent"},
    {"arm": "shadow"},
    {"arm": "canary", "request_id": "req-{}-canary", "outcome": "failed", "status": 500},
    {"sent": (Sent(to="far"),), "joules": None, "engine_s": 0.0},
    {"sent": (Sent(to="far", ended="failed"), Sent(to="here"))},  # asked twice, as a hedge or after a failure
    {"replays": "req-0", "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "price_micro": 0},
    {"cost_micro": 0},
    {"joules": None},
    {"joules": -3.0},
    {"engine_s": -1.0},
    {"conversation": "c1", "project": "p1"},
    {"model": "complete@2", "version": "complete@2"},
]


def request(rng: random.Random, number: int, **changes: Any) -> RequestEntry:
    tokens = rng.randint(1, 5000)
    facts: dict[str, Any] = {
        "at": OCTOBER + rng.random() * DAYS * 24 * HOUR, "request_id": f"req-{number}", "endpoint": "completions",
        "outcome": "ok", "status": 200, "tenant": rng.choice(["acme", "beta"]), "model": "complete",
        "version": "complete@1", "engine": "e", "prompt_tokens": tokens, "cached_tokens": rng.randint(0, tokens),
        "completion_tokens": rng.randint(0, 900), "price_micro": rng.randint(0, 10**7),
        "cost_micro": rng.randint(1, 10**7), "latency_s": 0.1, "engine_s": rng.random() * 3,
        "joules": rng.random() * 1e4, "joules_error": 0.05, "meter": "rapl",
    }  # fmt: skip
    made = RequestEntry(**{**facts, **changes})
    if not made.prompt_tokens:
        made = msgspec.structs.replace(made, cached_tokens=0, price_micro=0)
    if made.tenant == "" or made.outcome == "refused":
        made = msgspec.structs.replace(made, price_micro=0, cost_micro=0, completion_tokens=0, joules=None)
    return msgspec.structs.replace(made, request_id=made.request_id.format(number))


def thought_about(rng: random.Random, number: int, **changes: Any) -> list[RequestEntry]:
    """Return samples, and the answer that they are for: it has their tokens and the price, they cost and joules."""
    answer = request(rng, number, engine_s=0.0, joules=None, cost_micro=0, **changes)
    samples = [
        request(rng, number, at=answer.at, tenant=answer.tenant, part_of=answer.request_id, price_micro=0, **changes)
        for _ in range(4)
    ]
    samples = [msgspec.structs.replace(one, request_id=f"req-{number}-s{at}") for at, one in enumerate(samples)]
    sums = {name: sum(getattr(one, name) for one in samples) for name in FIGURES[:3]}
    return [*samples, msgspec.structs.replace(answer, samples=4, strategy="self-consistency", **sums)]


def of_meter(hour: int, rng: random.Random) -> EnergyEntry:
    """Return a minute and a half of the meter that ends within the hour, some of it in the hour before."""
    parts = {f"{name}_j": rng.random() * 1e4 for name in ("requests", "other", "idle")}
    return EnergyEntry(
        at=OCTOBER + hour * HOUR + 45, seconds=90.0, metered_j=sum(parts.values()), meter="rapl", error=0.05,
        engine_s=20.0, untold_j=parts["requests_j"] / 10, gap_s=5.0, **parts,
    )  # fmt: skip


def written(seed: int) -> dict[str, list[Any]]:
    rng = random.Random(seed)
    entries: list[Any] = []
    for number in range(210):
        way = WAYS[number % len(WAYS)]
        entries += (
            thought_about(rng, number, **{"arm": "incumbent"}) if number % 7 == 6 else [request(rng, number, **way)]
        )
    entries += [
        request(rng, 900 + number, at=at) for number, at in enumerate((OCTOBER - 0.001, OCTOBER + DAYS * 24 * HOUR))
    ]
    entries += [of_meter(hour, rng) for hour in (0, 1, 200, 744)]
    entries.append(FeedbackEntry(at=OCTOBER + 9, feedback_id=new_id("fb"), request_id="req-0", rating=1))
    rng.shuffle(entries)
    entries.sort(key=lambda one: bool(getattr(one, "samples", 0)))  # an answer comes after its samples
    return {"gateway-0": entries[::2], "gateway-1": entries[1::2]}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home with that ledger, a costs file, and somebody who answers with figures counted from the same entries."""
    key, metrics = open_key(tmp_path / "keys", tmp_path / "ledger"), Metrics()
    for writer, entries in written(5).items():
        with Ledger(tmp_path / "ledger", writer, key=key) as ledger:
            for entry in entries:
                ledger.append(entry)
                if isinstance(entry, RequestEntry):
                    metrics.count(entry)
    (tmp_path / "costs.toml").write_text(COSTS)

    class Figures(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(metrics.text({}))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Figures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "address.json").write_text(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}))
    (tmp_path / "metrics.txt").write_bytes(metrics.text({}))
    yield tmp_path
    server.shutdown()
    server.server_close()


def run(home: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["--home", str(home), *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def truth() -> dict[str, Any]:
    """Add the entries up by what they mean, without a line of the product's own sums."""
    requests = [one for entries in written(5).values() for one in entries if isinstance(one, RequestEntry)]
    mine = [one for one in requests if OCTOBER <= one.at < OCTOBER + DAYS * 24 * HOUR]
    asked = [one for one in mine if not one.part_of]
    seen = [one for one in asked if one.arm != "shadow" and not one.request_id.endswith("-canary")]
    known = [one for one in mine if one.joules is not None and one.joules >= 0]
    return {
        "requests": len(asked),
        "ok": sum(one.outcome == "ok" for one in asked),
        "prompt_tokens": sum(one.prompt_tokens for one in asked),
        "cached_tokens": sum(one.cached_tokens for one in asked),
        "completion_tokens": sum(one.completion_tokens for one in asked),
        "price_micro": sum(one.price_micro for one in seen),
        "charged": sum(one.prompt_tokens + one.completion_tokens for one in seen),
        "cost_micro": sum(one.cost_micro for one in mine),
        "engine_s": sum(max(0.0, one.engine_s) for one in mine),
        "joules": sum(one.joules or 0.0 for one in known),
        "metered": len({one.part_of or one.request_id for one in known}),
        "every_prompt": sum(one.prompt_tokens for one in requests if not one.part_of),
        "every_completion": sum(one.completion_tokens for one in requests if not one.part_of),
        "every_request": sum(not one.part_of for one in requests),
    }


def test_everybody_who_adds_up_the_ledger_says_the_same(home: Path) -> None:
    right = truth()
    stats = json.loads(run(home, "--json", "ledger", "stats", "--month", MONTH))
    assert {name: stats[name] for name in (*FIGURES, "requests", "metered")} == {
        name: right[name] for name in (*FIGURES, "requests", "metered")
    }
    assert stats["by_outcome"]["ok"] == right["ok"]
    assert stats["joules"] == pytest.approx(right["joules"], rel=1e-12)
    assert stats["engine_s"] == pytest.approx(right["engine_s"], rel=1e-12)

    for charge, figure in (("showback", "cost_micro"), ("chargeback", "price_micro")):
        told = json.loads(
            run(home, "report", "statement", "--month", MONTH, "--format", "json", "--charge", charge, "--check")
        )
        assert (told["requests"], told["price_micro"], told["cost_micro"]) == (
            right["requests"], right["price_micro"], right["cost_micro"]
        )  # fmt: skip
        assert sum(line["input_tokens"] for line in told["lines"]) == right["prompt_tokens"]
        assert sum(line["cached_tokens"] for line in told["lines"]) == right["cached_tokens"]
        assert sum(line["output_tokens"] for line in told["lines"]) == right["completion_tokens"]
        assert sum(line["answered"] for line in told["lines"]) == right["ok"]
        assert told["requests"] - told["unmetered"] == right["metered"]
        assert sum(line["joules"] or 0.0 for line in told["lines"]) == pytest.approx(right["joules"], abs=1e-3)
        assert sum(one[figure] for one in told["tenants"]) == right[figure]
        for name in ("metered", "requests", "other", "idle", "untold"):
            assert told["energy"][f"{name}_uj"] == pytest.approx(stats["energy"][f"{name}_j"] * 1e6, abs=10)
        assert told["energy"]["told_uj"] == pytest.approx(right["joules"] * 1e6, abs=500)

        focus = list(
            csv.DictReader(
                io.StringIO(run(home, "report", "statement", "--month", MONTH, "--format", "focus", "--charge", charge))
            )
        )
        assert sum(round(float(row["BilledCost"]) * 1e6) for row in focus) == right[figure]
        assert sum(round(float(row["x_HouseCost"]) * 1e6) for row in focus) == right["cost_micro"]
        assert sum(int(row["x_Requests"]) for row in focus) == right["requests"]
        assert sum(int(row["ConsumedQuantity"]) for row in focus) == right["prompt_tokens"] + right["completion_tokens"]
        assert sum(float(row["x_Joules"] or 0) for row in focus) == pytest.approx(right["joules"], abs=1e-3)


@pytest.mark.parametrize("engine", ["database", "duckdb"])
def test_the_tables_say_the_same_in_every_engine(home: Path, engine: str) -> None:
    if engine == "duckdb":
        pytest.importorskip("duckdb")
    right, span = truth(), f'"at" >= {OCTOBER} AND "at" < {OCTOBER + DAYS * 24 * HOUR}'
    unseen = "(arm = 'shadow' OR request_id LIKE '%-canary' OR part_of <> '')"
    sums = ", ".join(f"SUM(CASE WHEN part_of = '' THEN {name} ELSE 0 END) AS {name}" for name in FIGURES[:3])
    query = (
        f"SELECT SUM(CASE WHEN part_of = '' THEN 1 ELSE 0 END) AS requests, {sums}, SUM(cost_micro) AS cost_micro, "
        f"SUM(CASE WHEN {unseen} THEN 0 ELSE price_micro END) AS price_micro, "
        "SUM(CASE WHEN joules >= 0 THEN joules ELSE 0 END) AS joules, "
        "SUM(CASE WHEN engine_s >= 0 THEN engine_s ELSE 0 END) AS engine_s "
        f"FROM requests WHERE {span}"
    )
    (row,) = json.loads(run(home, "--json", "ledger", "sql", query, "--engine", engine))
    assert {name: row[name] for name in ("requests", *FIGURES)} == {
        name: right[name] for name in ("requests", *FIGURES)
    }
    assert row["joules"] == pytest.approx(right["joules"], rel=1e-9)
    assert row["engine_s"] == pytest.approx(right["engine_s"], rel=1e-9)
    query = (
        "SELECT SUM(requests) AS requests, SUM(answered) AS ok, SUM(prompt_tokens) AS prompt_tokens, "
        "SUM(cached_tokens) AS cached_tokens, SUM(completion_tokens) AS completion_tokens, "
        f"SUM(charged_tokens) AS charged FROM usage WHERE day LIKE '{MONTH}-%'"
    )
    (row,) = json.loads(run(home, "--json", "ledger", "sql", query, "--engine", engine))
    assert row == {name: right[name] for name in row}


def test_budgets_prometheus_and_top_say_the_same(home: Path) -> None:
    right = truth()
    spent = load_spending(home / "ledger", home / "views" / "spending.json").spent(MONTH)
    assert (spent.tokens, spent.micro) == (right["charged"], right["price_micro"])

    figures = {one.name: one.samples for one in text_string_to_metric_families((home / "metrics.txt").read_text())}
    tokens = [one for one in figures["tokenworks_tokens"] if one.name.endswith("_total")]
    for direction in ("prompt", "completion"):
        told = sum(one.value for one in tokens if one.labels["direction"] == direction)
        assert told == right[f"every_{direction}"]
    assert (
        sum(one.value for one in figures["tokenworks_requests"] if one.name.endswith("_total"))
        == right["every_request"]
    )

    window_s = (DAYS + 2) * 24 * HOUR
    look = Top(home, window_s=window_s).look(OCTOBER + (DAYS + 1) * 24 * HOUR)
    for rows in (look.models, look.tenants):
        assert round(sum(row.requests_per_s for row in rows) * window_s) == right["every_request"]
        assert round(sum(row.prompt_tokens_per_s for row in rows) * window_s) == right["every_prompt"]
        assert round(sum(row.completion_tokens_per_s for row in rows) * window_s) == right["every_completion"]


def test_duckdbs_own_word_for_a_column_is_explained(home: Path) -> None:
    pytest.importorskip("duckdb")
    asked = ["--home", str(home), "ledger", "sql", "SELECT max(at) FROM requests", "--engine", "duckdb"]
    done = CliRunner().invoke(app, asked)
    assert 'write "at", or --engine database' in str(done.exception)
