"""Measured rows of served models, in the form of AIConfigurator's `silicon_sample.csv`, and predictions for them."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.planning.machine import weight_bits
from tokenworks.planning.step import PRIORS, Deployment, Numbers, Priors, tpot_s, ttft_s
from tokenworks.planning.tables import Tables

STARTED_TOGETHER = 0.08  # these benchmarks send a tenth of their requests at once: that share of the batch waits ahead
_INFERENCEX = re.compile(r"tp\d+(?:_0)?_ep\d+")  # in the id of rows that came from InferenceX


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement: a deployment, how many requests were under way, how long they were, what came of it."""

    name: str
    model: str
    machine: str
    engine: str  # with its version
    precision: str
    tensor: int
    replicas: int
    concurrency: float
    prompt: int
    answer: int
    ttft_s: float
    tpot_s: float

    @property
    def deployment(self) -> tuple[object, ...]:
        """Return what one measured point is worth for."""
        return (self.model, self.machine, self.engine, self.precision, self.tensor, self.replicas)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the lengths of prompt and answer."""
        return (self.prompt, self.answer)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of `path` that were measured with prompts and answers on the same devices."""
    with path.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    needed = {"id", "mode", "model_path", "system", "isl", "osl", "batch_size", "tp_size", "silicon_tpot_ms"}
    if not found or (missing := needed - set(found[0])):
        raise DataError(f"{path}: not a table of measurements; missing: {', '.join(sorted(missing)) or 'every row'}")
    return [row for row in map(_row, (one for one in found if one["mode"] == "agg")) if row.tpot_s > 0]


class Deployed(NamedTuple):
    """Rows of one deployment: their places, and the three figures that differ among them."""

    of: Deployment
    places: list[int]
    batch: Numbers
    prompt: Numbers
    answer: Numbers


def by_deployment(rows: Sequence[Row], tables: Tables) -> tuple[list[Deployed], set[str]]:
    """Return `rows` by what they were measured on, and the models or machines that the tables lack."""
    places: dict[tuple[object, ...], list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.deployment, []).append(place)
    found, unknown = [], set[str]()
    for group in places.values():
        first = rows[group[0]]
        try:
            of = deployed(first, tables)
        except ConfigError:
            unknown.add(f"{first.model} in {first.precision} on {first.machine}")
            continue
        figures = np.array([(rows[one].concurrency, rows[one].prompt, rows[one].answer) for one in group], float).T
        found.append(Deployed(of, group, *figures))
    return found, unknown


def predicted(groups: Sequence[Deployed], count: int, priors: Priors = PRIORS) -> tuple[Numbers, Numbers]:
    """Return TPOT and TTFT in seconds of `count` rows, NaN of those in no group."""
    tpot, ttft = np.full(count, np.nan), np.full(count, np.nan)
    for of, places, batch, prompt, answer in groups:
        tpot[places] = tpot_s(of, batch, prompt, answer, priors)
        ttft[places] = ttft_s(of, batch, prompt, priors, queued=STARTED_TOGETHER * batch)
    return tpot, ttft


def deployed(row: Row, tables: Tables) -> Deployment:
    """Return the deployment that `row` was measured on. Caches are 8 bits wide wherever the weights are."""
    weight_bits(row.precision)
    return Deployment(
        model=tables.model(row.model),
        machine=tables.machine(row.machine),
        tensor=row.tensor,
        replicas=row.replicas,
        precision=row.precision,
        kv_bits=16.0 if row.precision in ("bf16", "fp16", "int4") else 8.0,
    )


def _row(one: dict[str, str]) -> Row:
    tensor, attention = int(one["tp_size"]), int(one["attention_dp_size"] or 1)
    devices = _devices(one, tensor * attention)
    replicas = devices if attention > 1 else 1
    return Row(
        name=one["id"],
        model=one["model_path"],
        machine=one["system"],
        engine=f"{one['backend']} {one['backend_version']}",
        precision=_precision(one),
        tensor=devices // replicas,
        replicas=replicas,
        concurrency=float(one["batch_size"]) * attention,  # of one copy of the model, however many there were
        prompt=int(one["isl"]),
        answer=int(one["osl"]),
        ttft_s=float(one["silicon_ttft_ms"] or "nan") / 1e3,
        tpot_s=float(one["silicon_tpot_ms"] or 0) / 1e3,
    )


def _devices(one: dict[str, str], product: int) -> int:
    """Return how many devices there were: rows from InferenceX list TP8 with EP8, or with DP8, as 64 of them."""
    from_inferencex = _INFERENCEX.search(one["id"]) or "db-dump" in one["silicon_data_source"]
    tensor, expert = int(one["moe_tp_size"] or 1), int(one["moe_ep_size"] or 1)
    squared = product == tensor * expert and (
        tensor == expert or int(one["tp_size"]) == int(one["attention_dp_size"] or 1)
    )
    if from_inferencex and squared and product > 1 and math.isqrt(product) ** 2 == product:
        return math.isqrt(product)
    return product


def _precision(one: dict[str, str]) -> str:
    if one["precision"]:
        return one["precision"]
    name = one["model_path"].upper()
    return "fp8" if "FP8" in name else "fp4" if "FP4" in name else "bf16"
