"""A running server at a glance: rates and percentiles from the ledger's newest entries, the rest from its figures."""

from __future__ import annotations

import urllib.request
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from tokenworks.core.errors import NotFoundError
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.heads import LATEST, read_head
from tokenworks.ledger.reader import Cursor, writers
from tokenworks.ledger.views import percentile

BACK = 20_000  # entries of each writer that the first look goes back, at most
PATIENCE_S = 2.0
NO_MODEL = "(no model)"  # what callers call a model that does not exist is not shown: it may be anything


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model version, or one tenant, over the window."""

    name: str
    requests_per_s: float
    prompt_tokens_per_s: float
    completion_tokens_per_s: float
    latency_p50_s: float | None  # of what was answered
    latency_p95_s: float | None
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    failed: int
    refused: int


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """One engine as the server sees it."""

    version: str
    state: str
    restarts: int


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look showed."""

    url: str
    at: float
    window_s: float
    models: tuple[Row, ...]
    tenants: tuple[Row, ...]  # the busiest first
    engines: tuple[Engine, ...]
    in_flight: int
    ledger_waiting: int
    left_site_bytes: int  # since the server began


class Top:
    """Looks at the server of `home` again and again; each look reads only what is new."""

    def __init__(self, home: Path, *, window_s: float = 60.0) -> None:
        self._home = home
        self._window_s = window_s
        self._cursors: dict[str, Cursor] = {}
        self._recent: deque[RequestEntry] = deque()

    def look(self, now: float) -> Look:
        """Return what is to be seen at `now`, Unix seconds; raise `NotFoundError` where no server runs."""
        url = _address(self._home)
        figures = _figures(url)
        recent = self._entries(now)
        return Look(
            url=url,
            at=now,
            window_s=self._window_s,
            models=self._rows((entry.version or NO_MODEL, entry) for entry in recent),
            tenants=self._rows((entry.tenant or "(nobody)", entry) for entry in recent),
            engines=_engines(figures),
            in_flight=int(_one(figures, "tokenworks_requests_in_flight")),
            ledger_waiting=int(_one(figures, "tokenworks_ledger_waiting")),
            left_site_bytes=int(_one(figures, "tokenworks_left_site_bytes_total")),
        )

    def _entries(self, now: float) -> list[RequestEntry]:
        """Return the requests that ended within the window, having read what came since the last look."""
        root = self._home / "ledger"
        for writer in writers(root):
            cursor = self._cursors.get(writer) or self._cursors.setdefault(writer, _near_end(root / writer))
            self._recent.extend(one for _, one in cursor.entries() if isinstance(one, RequestEntry) and not one.part_of)
        since = now - self._window_s
        self._recent = deque(entry for entry in self._recent if entry.at + entry.latency_s >= since)
        return list(self._recent)

    def _rows(self, named: Iterator[tuple[str, RequestEntry]]) -> tuple[Row, ...]:
        by_name: defaultdict[str, list[RequestEntry]] = defaultdict(list)
        for name, entry in named:
            by_name[name].append(entry)
        rows = [self._row(name, entries) for name, entries in by_name.items()]
        return tuple(sorted(rows, key=lambda row: (-row.requests_per_s, row.name)))

    def _row(self, name: str, entries: Sequence[RequestEntry]) -> Row:
        answered = [entry for entry in entries if entry.outcome == "ok"]
        latency = sorted(entry.latency_s for entry in answered)
        ttft = sorted(entry.ttft_s for entry in answered)
        return Row(
            name=name,
            requests_per_s=len(entries) / self._window_s,
            prompt_tokens_per_s=sum(entry.prompt_tokens for entry in entries) / self._window_s,
            completion_tokens_per_s=sum(entry.completion_tokens for entry in entries) / self._window_s,
            latency_p50_s=percentile(latency, 0.5),
            latency_p95_s=percentile(latency, 0.95),
            ttft_p50_s=percentile(ttft, 0.5),
            ttft_p95_s=percentile(ttft, 0.95),
            failed=sum(entry.outcome == "failed" for entry in entries),
            refused=sum(entry.outcome == "refused" for entry in entries),
        )


def _near_end(folder: Path) -> Cursor:
    size = read_head(folder / LATEST).size if (folder / LATEST).exists() else 0
    return Cursor(folder, max(0, size - BACK))


def _address(home: Path) -> str:
    try:
        return str(msgspec.json.decode((home / "address.json").read_bytes())["url"])
    except FileNotFoundError:
        raise NotFoundError(f"no server runs over {home}; start one: tokenworks serve") from None


def _figures(url: str) -> Mapping[str, list[tuple[dict[str, str], float]]]:
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE_S) as answer:
            text = answer.read().decode()
    except OSError as error:
        raise NotFoundError(f"the server at {url} does not answer: {error}; is it still running?") from None
    found: defaultdict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append((sample.labels, sample.value))
    return found


def _engines(figures: Mapping[str, list[tuple[dict[str, str], float]]]) -> tuple[Engine, ...]:
    restarts = {labels["version"]: int(value) for labels, value in figures.get("tokenworks_engine_restarts", [])}
    states = [labels for labels, value in figures.get("tokenworks_engine_state", []) if value]
    return tuple(
        Engine(version=one["version"], state=one["state"], restarts=restarts.get(one["version"], 0)) for one in states
    )


def _one(figures: Mapping[str, list[tuple[dict[str, str], float]]], name: str) -> float:
    return sum(value for _, value in figures.get(name, []))
