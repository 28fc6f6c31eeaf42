"""Joules for each answer token of a claim: by the meter that sees who answers, else as the answers tell."""

from __future__ import annotations

from collections.abc import Sequence

from tokenworks.factory.planning.asking import Answered
from tokenworks.factory.planning.watching import Idle, Round, Taken, Watch, idle_of
from tokenworks.planning.claims.judge import PLAIN, Known

JOULES = "joules_per_token"
LEAST_ROUNDS = 2  # for an interval
NO_IDLE = "nobody knows what the machine draws idle: raise rule.idle_s, or tokenworks meter calibrate"


def joules_known(
    watch: Watch | None, blind: str, looks: Sequence[Taken], rounds: dict[str, list[float]], every: Sequence[Answered]
) -> tuple[str, Known]:
    """Return why joules may not be known, and how they are; put those that count into `rounds`.

    `looks` are those at the machine with nobody asking, `blind` says why there is no `watch`.
    """
    told = told_by(every)
    if watch is None:
        return f"the server's answers carry no joules, and {blind}", told
    said = [one.told_j / one.tokens for one in watch.rounds if one.told_j is not None and one.tokens]
    idle = idle_of(looks, watch.meter.idle_w, watch.meter.error)
    found = by_meter(watch, idle) if idle is not None else NO_IDLE
    if idle is None or isinstance(found, str):
        rounds[JOULES] = said if len(said) == len(watch.rounds) else []
        return str(found), told._replace(
            besides=f"joules: not by the meter of this machine: {found}"
        ) if told.how else told
    rounds[JOULES] = per_token(watch.rounds, idle)
    if said:
        also = f"the server's own answers tell {sum(said) / len(said):.4g} J per answer token, their share of idle in"
        found = found._replace(besides=f"{found.besides}; {also}")
    return "", found


def above_idle(watch: Watch, looks: Sequence[Taken]) -> list[float]:
    """Return the meter's joules above idle for each answer token of the rounds so far; none where nobody knows idle."""
    idle = idle_of(looks, watch.meter.idle_w, watch.meter.error)
    return per_token(watch.rounds, idle) if idle is not None else []


def told_by(every: Sequence[Answered]) -> Known:
    """Return how well the joules are known that answers told."""
    joules = sum(one.joules or 0.0 for one in every)
    if not joules or any(one.joules is None for one in every):
        return PLAIN
    error = sum((one.joules or 0.0) * one.joules_error for one in every) / joules
    grades = "+".join(sorted({one.meter for one in every}))
    return Known(
        error,
        f"as the server's answers tell (grade {grades}, standard uncertainty {error:.0%}), their share of idle in",
    )


def by_meter(watch: Watch, idle: Idle) -> Known | str:
    """Return how well the joules above idle of all rounds are known by the meter, or why they are not."""
    rounds = [one for one in watch.rounds if one.taken.joules is not None]
    if len(rounds) < LEAST_ROUNDS:
        return next((one.taken.because for one in watch.rounds if one.taken.because), "the meter was not read")
    seconds, joules = sum(one.taken.seconds for one in rounds), sum(one.taken.joules or 0.0 for one in rounds)
    above = joules - idle.watts * seconds
    if above <= idle.error_w * seconds:
        return (
            f"the meter ({watch.meter.grade}) counted {joules / seconds:.1f} W over the rounds and {idle.watts:.1f} W "
            "idle: what requests took cannot be told from that"
        )
    error = float((watch.meter.error**2 + (idle.error_w * seconds / above) ** 2) ** 0.5)
    how = (
        f"by the meter {watch.source} (grade {watch.meter.grade}, standard uncertainty {error:.0%}), above the "
        f"{idle.watts:.1f} W that the machine draws idle, {idle.how}"
    )
    tokens = sum(one.tokens for one in rounds)
    return Known(error, how, f"joules: with idle power it is {joules / tokens:.4g} J per answer token")


def per_token(rounds: Sequence[Round], idle: Idle) -> list[float]:
    """Return the joules above idle for each answer token, round by round; rounds that were not metered are left out."""
    return [
        (one.taken.joules - idle.watts * one.taken.seconds) / one.tokens
        for one in rounds
        if one.taken.joules is not None and one.tokens
    ]
