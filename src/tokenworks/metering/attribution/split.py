"""How the seconds of one engine step are split among the requests that ran in it."""

from __future__ import annotations

from collections.abc import Sequence


def split(seconds: float, works_s: Sequence[float]) -> list[float]:
    """Return the share of each request in a step of `seconds`; they add up to `seconds`.

    `works_s` is what the tokens of each would take by themselves. What the step took beyond all of that is its fixed
    floor (reading the weights, starting kernels), which all carry equally; a step that was faster than its works is
    shared by them alone:

        e_i = F / n + w_i * (t - F) / sum(w),  F = max(t - sum(w), 0)

    The rule of research/economics.md, sections 0.3 and 1.3: of those measured there the closest to Shapley's values at
    a cost of O(n) a step. Raises `ValueError` for negative figures.
    """
    if not works_s:
        return []
    if seconds < 0 or min(works_s) < 0:
        raise ValueError(f"a step of {seconds} s with works of {list(works_s)} s cannot be: none may be negative")
    total_s = sum(works_s)
    if total_s <= 0:
        return [seconds / len(works_s)] * len(works_s)
    floor_s = max(seconds - total_s, 0.0)
    each_s, rate = floor_s / len(works_s), (seconds - floor_s) / total_s
    return [each_s + work_s * rate for work_s in works_s]
