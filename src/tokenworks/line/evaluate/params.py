"""What an evaluation may be told."""

from __future__ import annotations

from typing import Any

import msgspec


class EvaluateParams(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one gold set. `model_ref` is what is asked for in the request, and what the report names."""

    task: str
    kind: str
    metric: str
    model_ref: str
    concurrency: int = 16
    latency_sample: int = 64  # answers timed one at a time
    latency_budget_s: float = 20.0  # the sample ends here even where it is smaller
    max_items: int = 0  # of a larger gold set a part is asked, always the same one; 0: 10,000, or 1,000 texts
    max_tokens: int = 256  # of one generated answer
    schema: dict[str, Any] | None = None  # extract: the answer's JSON Schema
    seed: int = 0
