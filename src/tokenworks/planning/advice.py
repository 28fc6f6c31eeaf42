"""What the table of options comes to in a sentence or two, and the usage at which it would come to something else."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tokenworks.planning.option import Option
from tokenworks.planning.options import Inputs
from tokenworks.planning.volume import Turn, turns


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, and where it turns with less usage and with more; None: nowhere within a thousandfold."""

    build: bool
    choice: str
    lines: tuple[str, ...]
    below: Turn | None = None
    above: Turn | None = None


def advise(given: Inputs, found: Sequence[Option]) -> Advice:
    """Return the cheapest option that reaches the targets and that labels permit, and when another is cheaper."""
    forbidden = [_forbidden(one) for one in found if one.usd_month is not None and one.permitted_share < 1.0]
    allowed = sorted((one for one in found if one.allowed), key=lambda one: one.usd_month or 0.0)
    if not allowed:
        text = "Do not build yet: nothing reaches the targets within what labels permit."
        return Advice(build=False, choice="none", lines=(text, *forbidden))
    best = allowed[0]
    below, above = turns(given, best, allowed)
    lines = [_sentence(best, allowed), *_turn_lines(given, best, allowed, below, above), *forbidden]
    return Advice(build=best.capital_usd > 0, choice=best.kind, lines=tuple(lines), below=below, above=above)


def _sentence(best: Option, allowed: Sequence[Option]) -> str:
    others = ", ".join(f"{one.kind} {_usd(one)}" for one in allowed[1:])
    others = f" ({others})" if others else ", and nothing else is permitted"
    what = {
        "this site": f"Do not build: the machines that are here suffice, at {_usd(best)} a month",
        "bought": f"Build: {best.devices} x {best.machine}, {_usd(best)} a month",
        "rented": f"Do not build, rent: {best.devices} x {best.machine}, {_usd(best)} a month",
        "hosted API": f"Do not build: the hosted API costs {_usd(best)} a month",
        "hybrid": ("Build a part" if best.capital_usd else "Do not build")
        + f": what labels keep here on {best.devices} x {best.machine}, the rest hosted, {_usd(best)} a month",
    }
    return f"{what[best.kind]}{others}."


def _turn_lines(
    given: Inputs, best: Option, allowed: Sequence[Option], below: Turn | None, above: Turn | None
) -> list[str]:
    out = []
    for turn, side in ((above, "from"), (below, "below")):
        if turn is not None:
            times = turn.requests / given.volume.requests
            named = f"{turn.kind} ({turn.machine})" if turn.machine else turn.kind
            out.append(
                f"That changes {side} {turn.requests:,.0f} requests a month ({times:.3g} times this plan): {named}."
            )
    bought = next((one for one in allowed if one.kind == "bought"), None)
    if best.kind == "hosted API" and above is None and bought is not None:
        share = bought.break_even_utilisation or 0.0
        out.append(
            f"More usage does not change that: {bought.machine} would cost what the API does "
            f"at {share:.0%} of what it can do."
        )
    return out


def _forbidden(one: Option) -> str:
    return f"{one.kind}: labels permit it for {one.permitted_share:.0%} of the requests (cleared for {one.clearance})."


def _usd(one: Option) -> str:
    return f"{one.usd_month or 0.0:,.0f} USD"
