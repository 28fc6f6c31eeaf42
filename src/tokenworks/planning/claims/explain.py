"""The gap between a claim and what was measured, in the planner's terms: what other conditions change, and a step."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.planning.calibration import UNCALIBRATED
from tokenworks.planning.claims.claim import Claim, Conditions
from tokenworks.planning.claims.judge import Judged
from tokenworks.planning.step import PRIORS, Deployment, decode_s, overhead_s, prefill_s, tpot_s
from tokenworks.planning.tables import Tables


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What the planner's constants say of some conditions."""

    tokens_per_s: float
    tpot_s: float
    step_s: float
    overhead_s: float  # of a step: kernels and bookkeeping
    prompts_s: float  # of a token: prompts of others, read in between


def expected(of: Conditions, tables: Tables) -> Expected | None:
    """Return what `of` would give by the priors; None where a model or machine is not known."""
    if not of.machine:
        return None
    try:
        deployment = Deployment(
            model=tables.model(of.model),
            machine=tables.machine(of.machine),
            tensor=max(of.devices, 1),
            precision=of.precision or "bf16",
        )
        each = float(tpot_s(deployment, of.concurrency, of.prompt_tokens, of.answer_tokens))
    except ConfigError:
        return None
    context = of.prompt_tokens + of.answer_tokens / 2
    prompts = (of.concurrency - 1) * float(prefill_s(deployment, of.prompt_tokens)) / of.answer_tokens
    return Expected(
        tokens_per_s=of.concurrency / each,
        tpot_s=each,
        step_s=float(decode_s(deployment, of.concurrency, context)),
        overhead_s=float(overhead_s(deployment, of.concurrency, PRIORS)),
        prompts_s=prompts,
    )


def explain(claim: Claim, judged: Sequence[Judged], tables: Tables) -> list[str]:
    """Return sentences on where the gap comes from, as far as the planner knows model and machine."""
    theirs, ours = expected(claim.conditions, tables), expected(claim.tried, tables)
    out = []
    for name in claim.differences:
        out.append(_difference(claim, name, theirs, tables))
    if theirs is not None and ours is not None and claim.differences:
        ratio = ours.tokens_per_s / theirs.tokens_per_s
        out.append(f"All differences together: the planner expects {ratio:.2f} times the tokens/s here.")
        out += _translated(judged, ratio)
    about = ours or theirs
    if about is None:
        return [*out, "The planner's tables lack this model or machine: no prediction stands beside the measurement."]
    out.append(
        f"Planner's priors for these conditions: {about.tokens_per_s:,.0f} tokens/s "
        f"(within {UNCALIBRATED:.0%} for most), a token in {about.tpot_s * 1e3:.1f} ms: "
        f"{about.step_s * 1e3:.1f} ms a step, of which "
        f"{about.overhead_s * 1e3:.1f} ms kernels and bookkeeping, "
        f"and {about.prompts_s * 1e3:.1f} ms of others' prompts."
    )
    return out


def _difference(claim: Claim, name: str, theirs: Expected | None, tables: Tables) -> str:
    stated, ours = getattr(claim.conditions, name), getattr(claim.tried, name)
    changed = (
        expected(msgspec.structs.replace(claim.conditions, **{name: ours}), tables) if theirs is not None else None
    )
    if theirs is None or changed is None:
        return f"{name}: stated {stated}, here {ours}; what that changes is not known."
    ratio = changed.tokens_per_s / theirs.tokens_per_s
    return f"{name}: stated {stated}, here {ours}; alone it makes {ratio:.2f} times the tokens/s."


def _translated(judged: Sequence[Judged], ratio: float) -> list[str]:
    for one in judged:
        if one.name == "tokens_per_s" and one.measured is not None:
            there = one.claimed * ratio
            return [
                f"Brought to the conditions here the claim would be {there:,.0f} tokens/s; measured "
                f"{one.measured.mean:,.0f}, {one.measured.mean / there - 1:+.0%}."
            ]
    return []
