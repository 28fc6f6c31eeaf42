"""Figures of several processes as those of one: Prometheus text in, Prometheus text out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

ENGINE = "tokenworks_engine_"  # every process sees the same engines
CREATED = "_created"  # when a series began


def merged(texts: Iterable[bytes]) -> bytes:
    """Return the sum of each series; of what engines are, the largest; of when a series began, the first."""
    said: dict[str, list[str]] = {}  # family -> its HELP and TYPE lines, in the order in which they came
    found: dict[str, dict[str, list[float]]] = {}  # family -> series -> values
    for text in texts:
        family = ""
        for line in text.decode().splitlines():
            if line.startswith("#"):
                family = line.split(" ", 3)[2]
                lines = said.setdefault(family, [])
                if line not in lines:
                    lines.append(line)
            elif line:
                series, _, value = line.rpartition(" ")
                found.setdefault(family, {}).setdefault(series, []).append(float(value))
    lines = []
    for family, about in said.items():
        lines += about
        lines += [f"{series} {_rule(series)(values)!r}" for series, values in found.get(family, {}).items()]
    return ("\n".join(lines) + "\n").encode()


def lasting(text: bytes) -> bytes:
    """Return what still counts when its process has ended: counters and histograms, not how things stood."""
    kept, family = [], ""
    kinds: dict[str, str] = {}
    for line in text.decode().splitlines():
        if line.startswith("#"):
            family = line.split(" ", 3)[2]
            if line.startswith("# TYPE "):
                kinds[family] = line.split(" ")[3]
        kept.append((family, line))
    lines = [line for family, line in kept if kinds.get(family) in ("counter", "histogram")]
    return "".join(f"{line}\n" for line in lines).encode()


def _rule(series: str) -> Callable[[Sequence[float]], float]:
    name = series.partition("{")[0]
    if name.endswith(CREATED):
        return min
    return max if name.startswith(ENGINE) else sum
