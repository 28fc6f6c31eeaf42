"""The report on a claim: Markdown that can be sent to whoever made it, and the same as data."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tokenworks.core.version import __version__
from tokenworks.planning.claims.claim import Claim, Conditions
from tokenworks.planning.claims.judge import Judged, Verdict, overall

UNITS = {
    "tokens_per_s": "tokens/s, at least", "ttft_p95_s": "s to the first token, p95, at most",
    "tpot_p95_s": "s per token, p95, at most", "latency_p95_s": "s to the end, p95, at most",
    "joules_per_token": "J per answer token, at most", "usd_per_million": "USD per million answer tokens, at most",
}  # fmt: skip


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the trial of a claim came to."""

    claim: Claim
    verdict: Verdict
    figures: tuple[Judged, ...]
    explained: tuple[str, ...]
    asked: int
    seconds: float
    seen_prompt_tokens: float  # mean, as the server counted
    seen_answer_tokens: float
    at: str


def made_of(
    claim: Claim, judged: Sequence[Judged], explained: Sequence[str], *, asked: int, seconds: float,
    lengths: tuple[float, float], at: str,
) -> Report:  # fmt: skip
    """Return the report."""
    return Report(
        claim=claim, verdict=overall(judged), figures=tuple(judged), explained=tuple(explained), asked=asked,
        seconds=seconds, seen_prompt_tokens=lengths[0], seen_answer_tokens=lengths[1], at=at,
    )  # fmt: skip


def markdown(report: Report) -> str:
    """Return the report as a page."""
    claim = report.claim
    out = [f"# {claim.name}: {report.verdict}", ""]
    said = ", ".join(one for one in (claim.by, claim.source) if one)
    out += [
        f"Claimed by {said}. Tried {report.at} with Tokenworks {__version__}." if said else f"Tried {report.at}.",
        "",
    ]
    out += ["| figure | claimed | measured (95 % interval) | verdict |", "|---|---:|---:|---|"]
    for one in report.figures:
        measured = "-"
        if one.measured is not None:
            found = one.measured
            measured = f"{found.mean:,.4g} ({found.low:,.4g} to {found.high:,.4g}, {found.rounds} rounds)"
        out.append(f"| {UNITS[one.name]} | {one.claimed:,.4g} | {measured} | {one.verdict}: {one.because} |")
    out += ["", "| condition | stated | tried |", "|---|---|---|"]
    for field in msgspec.structs.fields(Conditions):
        stated, tried = getattr(claim.conditions, field.name), getattr(claim.tried, field.name)
        mark = " (differs)" if field.name in claim.differences else ""
        out.append(f"| {field.name.replace('_', ' ')} | {stated or 'not stated'} | {tried or 'not said'}{mark} |")
    out.append(
        f"| as the server counted | | {report.seen_prompt_tokens:.0f} prompt, "
        f"{report.seen_answer_tokens:.0f} answer tokens |"
    )
    rule = claim.rule
    out += [
        "",
        f"{report.asked} requests in {report.seconds:.0f} s. A round is {_round(claim)} requests; rounds were repeated "
        f"until the half width of each interval was {rule.interval:.0%} of its mean, {rule.rounds[1]} at most. "
        f"A figure is confirmed when all of its interval is within {rule.tolerance:.0%} of the claim.",
        "",
        "## Where the gap comes from",
        "",
        *(f"- {line}" for line in report.explained),
    ]
    return "\n".join(out) + "\n"


def _round(claim: Claim) -> int:
    return claim.rule.requests_per_round or 2 * claim.tried.concurrency
