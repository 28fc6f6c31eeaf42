"""The ledger's own traffic as a trace for the planner, with the labels that it had."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np

from tokenworks.core.errors import DataError
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.planning.trace import Trace


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What came, and how much of it under each label."""

    trace: Trace
    labels: dict[str, int]
    cached_share: float  # of the prompt tokens


def ledger_traffic(root: Path, *, since: float | None = None, model: str = "") -> Traffic:
    """Return the requests below `root` that were answered with generated tokens, of `model` where one is named."""
    found = [
        (entry.at, entry.prompt_tokens, entry.completion_tokens, entry.label, entry.cached_tokens)
        for _, entry in read(root)
        if isinstance(entry, RequestEntry)
        and entry.outcome == "ok"
        and entry.completion_tokens > 0
        and not entry.replays
        and (since is None or entry.at >= since)
        and model in ("", entry.model, entry.version)
    ]
    if not found:
        raise DataError(f"{root}: no request was answered with generated tokens; give --trace FILE, or another --since")
    found.sort(key=lambda one: one[0])
    at, prompt, answer = (np.array(column) for column in list(zip(*found, strict=True))[:3])
    trace = Trace(at - at[0], np.maximum(prompt, 1).astype(np.int64), answer.astype(np.int64))
    cached = sum(one[4] for one in found) / max(int(prompt.sum()), 1)
    return Traffic(trace=trace, labels=dict(Counter(one[3] for one in found if one[3])), cached_share=min(cached, 1.0))
