"""Sides that take turns, round by round: a table of what each came to, and its ratio to the first in the same round."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenworks.factory.doctor import machine

RESULTS = Path(__file__).parent / "results"
Figures = dict[str, list[tuple[float, float]]]  # by side, the first first: tokens/s, and per second of processor time


def keep(name: str, title: str, work: str, found: Figures, *more: str, told: Mapping[str, Any] | None = None) -> None:
    """Keep the figures as data, with what else is `told`, and as a table with `more` lines below; print the table."""
    about = machine()
    lines = [
        f"# {title}",
        "",
        f"{about['cpu']}, {about['cores']} cores; {work}, {len(next(iter(found.values())))} interleaved rounds. "
        f"Ratios to '{next(iter(found))}' of the same round: median (quartiles).",
        "",
        *table(found),
        *more,
    ]
    data = {"machine": about, "figures": found, **(told or {})}
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def table(found: Figures) -> list[str]:
    """Return the lines of a Markdown table."""
    first = next(iter(found.values()))
    lines = [
        "| side | tokens/s | ratio | tokens per s of processor time | ratio |",
        "|---|---:|---:|---:|---:|",
    ]
    for side, values in found.items():
        cells = []
        for at in (0, 1):
            ratios = [value[at] / base[at] for value, base in zip(values, first, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            median = statistics.median(value[at] for value in values)
            cells += [f"{median:,.0f}", f"{middle:.3f} ({low:.3f} - {high:.3f})"]
        lines.append(f"| {side} | " + " | ".join(cells) + " |")
    return lines
