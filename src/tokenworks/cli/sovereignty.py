"""The sovereignty report as lines of text: first the answer, then the account, then what proves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokenworks.core.clock import iso

if TYPE_CHECKING:
    from tokenworks.ledger.sovereignty import Flow, Sovereignty, Stretch

HEAD = (
    f"  {'label':<13} {'to':<24} {'region':<12} {'requests':>9} {'attempts':>9} {'tokens in':>10} "
    f"{'tokens out':>10} {'bytes sent':>12} {'bytes back':>12}"
)


def sovereignty_lines(found: Sovereignty) -> list[str]:
    """Return the report for a terminal."""
    lines = [f"{iso(found.since)} to {iso(found.until)}: {found.requests} requests", "", _answer(found)]
    lines += _table(found.left)
    if found.unknown:
        lines.append(f"  unknown since they are older than the count: {', '.join(found.unknown_at)}")
    lines += [
        "",
        "stayed on the site:" if found.stayed or found.stayed_uncounted else "nothing was asked of engines here",
    ]
    lines += _table(found.stayed)
    if found.stayed_uncounted:
        lines.append(f"  {found.stayed_uncounted} requests to engines here, from before bytes were counted")
    if found.reached_nobody:
        lines.append(f"  {found.reached_nobody} requests ended before any engine was asked")
    lines += ["", "proven by the entries", *(f"  {_proof(one)}" for one in found.proof)]
    if found.unmetered:
        lines += ["", "not counted here, and configured", *(f"  {one}" for one in found.unmetered)]
    return lines


def _answer(found: Sovereignty) -> str:
    if found.nothing_left:
        return "NOTHING LEFT THE SITE"
    if found.unknown:
        return f"UNKNOWN: {found.unknown} requests went to a remote server before bytes were counted"
    sent, received = sum(flow.sent_bytes for flow in found.left), sum(flow.received_bytes for flow in found.left)
    return f"LEFT THE SITE: {sent} bytes out, {received} bytes back"


def _table(flows: Sequence[Flow]) -> list[str]:
    return [HEAD, *map(_row, flows)] if flows else []


def _row(flow: Flow) -> str:
    to = f"{flow.destination} {flow.address}".strip()
    return (
        f"  {flow.label:<13} {to:<24} {flow.region:<12} {flow.requests:>9} {flow.attempts:>9} {flow.prompt_tokens:>10} "
        f"{flow.completion_tokens:>10} {flow.sent_bytes:>12} {flow.received_bytes:>12}"
    )


def _proof(one: Stretch) -> str:
    signed = "not signed" if one.signed is None else f"signed to {one.signed}"
    which = "none" if one.first is None else f"{one.first} to {one.last}"
    return f"{one.writer} {which}, of {one.entries} verified; root {one.root[:16]}, {signed}"
