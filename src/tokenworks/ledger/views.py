"""Sums and searches folded from the log: dropped and made again, they come out the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from tokenworks.core.usage import COARSE
from tokenworks.ledger.entries import AnyEntry, EnergyEntry, FarEnergyEntry, FeedbackEntry, ReleaseEntry, RequestEntry
from tokenworks.ledger.metered import began_at, engine_s_of, error_of, is_sound, joules_of, within
from tokenworks.ledger.position import Position
from tokenworks.ledger.reader import read
from tokenworks.ledger.spending import charged_micro


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """What the meter says: `metered_j` = requests + other + idle. `unsettled_j` is of `requests_j`."""

    metered_j: float
    requests_j: float  # due to requests
    other_j: float
    idle_j: float
    untold_j: float  # of `requests_j`, what no request's entry has: broken off, engines that died, gaps
    unsettled_j: float  # what then is left, against the sum of the entries: rounding, and requests under way
    error: float
    seconds: float
    gap_s: float
    meters: dict[str, float]  # joules by grade
    doubtful: int = 0  # entries that cannot be meant: nothing of them is in these sums


class FarEnergy(msgspec.Struct, frozen=True, kw_only=True):
    """What the meter of a server elsewhere says: `metered_j` = requests + foreign + other + idle."""

    metered_j: float
    requests_j: float  # due to requests of this house
    foreign_j: float  # of requests that others sent there
    other_j: float
    idle_j: float
    untold_j: float  # of `requests_j`, what no request's entry has
    unsettled_j: float  # what then is left, against the sum of the entries: rounding, and requests under way
    engine_s: float
    foreign_s: float
    prompt_tokens: int  # by the server's counters
    completion_tokens: int
    foreign_prompt_tokens: int
    foreign_completion_tokens: int
    error: float
    seconds: float
    gap_s: float
    meters: dict[str, float]  # joules by grade
    doubtful: int = 0  # entries that cannot be meant: nothing of them is in these sums


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What the log says about a span of time. Percentiles are nearest-rank, over answered requests."""

    requests: int = 0
    by_outcome: dict[str, int] = {}
    by_model: dict[str, int] = {}  # version where one answered, else the model asked for
    by_tenant: dict[str, int] = {}
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    price_micro: int = 0  # what callers are charged, in millionths of the price list's unit
    cost_micro: int = 0  # what it cost the house, what nobody was shown included
    engine_s: float = 0.0  # of the engines, by requests
    joules: float = 0.0  # of requests that have a figure
    joules_error: float = 0.0  # standard uncertainty of that, as a share
    metered: int = 0  # requests that have one, themselves or by their samples
    energy: Energy | None = None  # by the meter; None: none was read
    elsewhere: dict[str, FarEnergy] = {}  # by the meters of servers elsewhere, by name
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    feedback: int = 0
    corrections: int = 0
    releases: int = 0
    first_at: float | None = None
    last_at: float | None = None


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """Feedback with the request that it is about; None where the log does not have that one."""

    position: Position
    feedback: FeedbackEntry
    request: RequestEntry | None


def stats(root: Path, since: float | None = None, until: float | None = None) -> Stats:
    """Return sums over every entry at or after `since` and before `until`.

    Metered energy counts by the part of its time that lies between them, as it does in a statement.
    """
    begin, end = -math.inf if since is None else since, math.inf if until is None else until
    return sum_up(_between((entry for _, entry in read(root)), begin, end))


def _between(entries: Iterable[AnyEntry], begin: float, end: float) -> Iterator[AnyEntry]:
    for entry in entries:
        if isinstance(entry, EnergyEntry | FarEnergyEntry) and is_sound(entry):
            if began_at(entry) < end and (part := within(entry, begin, end)) is not None:
                yield part
        elif begin <= entry.at < end:
            yield entry


def sum_up(entries: Iterable[AnyEntry]) -> Stats:
    """Return sums over `entries`."""
    requests: list[RequestEntry] = []
    feedback: list[FeedbackEntry] = []
    energy: list[EnergyEntry] = []
    far: list[FarEnergyEntry] = []
    releases = 0
    first_at, last_at = None, None
    for entry in entries:
        first_at = entry.at if first_at is None else min(first_at, entry.at)
        last_at = entry.at if last_at is None else max(last_at, entry.at)
        if isinstance(entry, RequestEntry):
            requests.append(entry)
        elif isinstance(entry, FeedbackEntry):
            feedback.append(entry)
        elif isinstance(entry, EnergyEntry):
            energy.append(entry)
        elif isinstance(entry, FarEnergyEntry):
            far.append(entry)
        elif isinstance(entry, ReleaseEntry):
            releases += 1
    metered = [(entry, joules) for entry in requests if (joules := joules_of(entry)) is not None]
    joules = sum(joules for _, joules in metered)
    asked = [entry for entry in requests if not entry.part_of]  # not samples: their answer has the sum of them
    answered = [entry for entry in asked if entry.outcome == "ok"]
    latency, ttft = sorted(entry.latency_s for entry in answered), sorted(entry.ttft_s for entry in answered)
    return Stats(
        requests=len(asked),
        by_outcome=_counts(entry.outcome for entry in asked),
        by_model=_counts(entry.version or entry.model for entry in asked),
        by_tenant=_counts(entry.tenant for entry in asked),
        prompt_tokens=sum(entry.prompt_tokens for entry in asked),
        cached_tokens=sum(entry.cached_tokens for entry in asked),
        completion_tokens=sum(entry.completion_tokens for entry in asked),
        price_micro=sum(charged_micro(entry) for entry in requests),
        cost_micro=sum(entry.cost_micro for entry in requests),
        engine_s=sum(map(engine_s_of, requests)),
        joules=joules,
        joules_error=sum(joules * error_of(entry) for entry, joules in metered) / (joules or 1.0),
        metered=_metered(asked, [entry for entry, _ in metered]),
        energy=_energy(energy, sum(joules for entry, joules in metered if not _is_far(entry))) if energy else None,
        elsewhere=_elsewhere(far, [(entry, joules) for entry, joules in metered if _is_far(entry)]),
        latency_p50_s=percentile(latency, 0.5),
        latency_p95_s=percentile(latency, 0.95),
        ttft_p50_s=percentile(ttft, 0.5),
        ttft_p95_s=percentile(ttft, 0.95),
        feedback=len(feedback),
        corrections=sum(entry.has_correction for entry in feedback),
        releases=releases,
        first_at=first_at,
        last_at=last_at,
    )


def _metered(asked: Iterable[RequestEntry], metered: Sequence[RequestEntry]) -> int:
    """Return how many requests have joules: an answer that was thought about has those of its samples."""
    of_samples = {entry.part_of for entry in metered if entry.part_of}
    return sum(
        joules_of(entry) is not None or (entry.samples > 0 and entry.request_id in of_samples) for entry in asked
    )


def _energy(every: Sequence[EnergyEntry], told_j: float) -> Energy:
    meters: dict[str, float] = {}
    entries = [entry for entry in every if is_sound(entry)]
    for entry in entries:
        meters[entry.meter] = meters.get(entry.meter, 0.0) + entry.metered_j
    metered_j, requests_j = sum(meters.values()), sum(entry.requests_j for entry in entries)
    untold_j = sum(entry.untold_j for entry in entries)
    return Energy(
        metered_j=metered_j,
        requests_j=requests_j,
        other_j=sum(entry.other_j for entry in entries),
        idle_j=sum(entry.idle_j for entry in entries),
        untold_j=untold_j,
        unsettled_j=requests_j - untold_j - told_j,
        error=sum(entry.metered_j * entry.error for entry in entries) / (metered_j or 1.0),
        seconds=sum(entry.seconds for entry in entries),
        gap_s=sum(entry.gap_s for entry in entries) + (entries[-1].waiting_s if entries else 0.0),
        meters=meters,
        doubtful=len(every) - len(entries),
    )


def _is_far(entry: RequestEntry) -> bool:
    """Return whether a request's joules are by the meter of a server elsewhere."""
    return entry.meter.startswith(COARSE)


def _elsewhere(every: Sequence[FarEnergyEntry], told: Sequence[tuple[RequestEntry, float]]) -> dict[str, FarEnergy]:
    told_j: dict[str, float] = {}
    for entry, joules in told:
        server = next((one.to for one in reversed(entry.sent) if one.ended == "ok"), "")
        told_j[server] = told_j.get(server, 0.0) + joules
    return {
        server: _far_energy(
            [entry for entry in every if entry.server == server],
            sum(told_j.get(name, 0.0) for name in server.split("+")),
        )
        for server in sorted({entry.server for entry in every})
    }


def _far_energy(every: Sequence[FarEnergyEntry], told_j: float) -> FarEnergy:
    entries = [entry for entry in every if is_sound(entry)]
    meters: dict[str, float] = {}
    for entry in entries:
        meters[entry.meter] = meters.get(entry.meter, 0.0) + entry.metered_j
    metered_j, requests_j = sum(meters.values()), sum(entry.requests_j for entry in entries)
    untold_j = sum(entry.untold_j for entry in entries)
    return FarEnergy(
        metered_j=metered_j,
        requests_j=requests_j,
        foreign_j=sum(entry.foreign_j for entry in entries),
        other_j=sum(entry.other_j for entry in entries),
        idle_j=sum(entry.idle_j for entry in entries),
        untold_j=untold_j,
        unsettled_j=requests_j - untold_j - told_j,
        engine_s=sum(entry.engine_s for entry in entries),
        foreign_s=sum(entry.foreign_s for entry in entries),
        prompt_tokens=sum(entry.prompt_tokens for entry in entries),
        completion_tokens=sum(entry.completion_tokens for entry in entries),
        foreign_prompt_tokens=sum(entry.foreign_prompt_tokens for entry in entries),
        foreign_completion_tokens=sum(entry.foreign_completion_tokens for entry in entries),
        error=sum(entry.metered_j * entry.error for entry in entries) / (metered_j or 1.0),
        seconds=sum(entry.seconds for entry in entries),
        gap_s=sum(entry.gap_s for entry in entries),
        meters=meters,
        doubtful=len(every) - len(entries),
    )


def find_request(root: Path, request_id: str) -> RequestEntry | None:
    """Return the entry of the request, or None."""
    for _, entry in read(root):
        if isinstance(entry, RequestEntry) and entry.request_id == request_id:
            return entry
    return None


def feedback_since(root: Path, since: float = 0.0) -> list[Feedback]:
    """Return all feedback given at or after `since`, oldest first, with the requests it is about, however old."""
    given: list[tuple[Position, FeedbackEntry]] = []
    requests: dict[str, RequestEntry] = {}
    wanted: set[str] = set()
    # Twice through the log: holding every request of its life in memory would not do.
    for position, entry in read(root):
        if isinstance(entry, FeedbackEntry) and entry.at >= since:
            given.append((position, entry))
            wanted.add(entry.request_id)
    if wanted:
        for _, entry in read(root):
            if isinstance(entry, RequestEntry) and entry.request_id in wanted:
                requests[entry.request_id] = entry
    return [
        Feedback(position=position, feedback=entry, request=requests.get(entry.request_id)) for position, entry in given
    ]


def percentile(ordered: list[float], share: float) -> float | None:
    """Return the smallest of `ordered` that at least `share` of them do not exceed (nearest rank), None of nothing."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
