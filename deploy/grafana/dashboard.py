"""Write `tokenworks.json`, the Grafana dashboard over the gateway's /metrics: `python deploy/grafana/dashboard.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("tokenworks.json")
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 24, 8
RATE = "$__rate_interval"


def quantiles(metric: str, by: str) -> list[tuple[str, str]]:
    """Return p50 and p95 of a histogram."""
    return [
        (
            f"histogram_quantile({share}, sum by (le, {by}) (rate({metric}_bucket[{RATE}])))",
            f"p{int(share * 100)} {{{{{by}}}}}",
        )
        for share in (0.5, 0.95)
    ]


MODEL = "gen_ai_response_model"
ROWS: tuple[tuple[str, tuple[tuple[str, str, list[tuple[str, str]]], ...]], ...] = (
    (
        "Requests",
        (
            (
                "Requests by outcome",
                "reqps",
                [(f"sum by (outcome) (rate(tokenworks_requests_total[{RATE}]))", "{{outcome}}")],
            ),
            (
                "Share that failed",
                "percentunit",
                [
                    (
                        f'sum(rate(tokenworks_requests_total{{outcome="failed"}}[{RATE}])) '
                        f"/ sum(rate(tokenworks_requests_total[{RATE}]))",
                        "failed",
                    )
                ],
            ),
            ("Under way", "short", [("tokenworks_requests_in_flight", "in flight")]),
            ("Refused", "reqps", [(f"sum by (code) (rate(tokenworks_refusals_total[{RATE}]))", "{{code}}")]),
        ),
    ),
    (
        "Answers",
        (
            ("Duration", "s", quantiles("gen_ai_server_request_duration_seconds", MODEL)),
            ("Time to first token", "s", quantiles("gen_ai_server_time_to_first_token_seconds", MODEL)),
            ("Time per output token", "s", quantiles("gen_ai_server_time_per_output_token_seconds", MODEL)),
            (
                "Tokens",
                "short",
                [
                    (
                        f"sum by (version, direction) (rate(tokenworks_tokens_total[{RATE}]))",
                        "{{version}} {{direction}}",
                    )
                ],
            ),
        ),
    ),
    (
        "Engines and destinations",
        (
            ("Engines ready", "short", [("tokenworks_engine_up", "{{version}}")]),
            ("Engine restarts", "short", [("tokenworks_engine_restarts", "{{version}}")]),
            (
                "Attempts that failed",
                "reqps",
                [(f"sum by (destination) (rate(tokenworks_upstream_failures_total[{RATE}]))", "{{destination}}")],
            ),
            (
                "Bytes that left the site",
                "Bps",
                [
                    (
                        f'sum by (destination, region) (rate(tokenworks_upstream_bytes_total{{region!="here",'
                        f'direction="sent"}}[{RATE}]))',
                        "{{destination}} {{region}}",
                    )
                ],
            ),
        ),
    ),
    (
        "Ledger",
        (
            (
                "Until an entry is durable",
                "s",
                [
                    (
                        f"histogram_quantile({share}, "
                        f"sum by (le) (rate(tokenworks_ledger_durable_seconds_bucket[{RATE}])))",
                        f"p{int(share * 100)}",
                    )
                    for share in (0.5, 0.99)
                ],
            ),
            ("Entries that wait", "short", [("tokenworks_ledger_waiting", "waiting")]),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": _at(0, y, WIDTH, 1)})
        width = WIDTH // len(row)
        for place, (name, unit, queries) in enumerate(row):
            panels.append(_panel(len(panels) + 1, name, unit, queries, _at(place * width, y + 1, width, HEIGHT)))
        y += HEIGHT + 1
    variable = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": "tokenworks",
        "title": "Tokenworks",
        "tags": ["tokenworks"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": panels,
    }


def _panel(number: int, title: str, unit: str, queries: list[tuple[str, str]], at: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": at,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for place, (expression, legend) in enumerate(queries)
        ],
    }


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=2) + "\n", encoding="utf-8")
