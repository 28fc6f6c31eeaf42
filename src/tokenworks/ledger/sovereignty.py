"""Which text left the site, where to and how much of it: folded from the request entries, each under its hash.

Knows nothing of settings: where a request could have gone does not matter, only where it went.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from tokenworks.core.destination import HERE
from tokenworks.core.errors import IntegrityError
from tokenworks.ledger.entries import AnyEntry, RequestEntry, Transfer
from tokenworks.ledger.note import VerifierKey
from tokenworks.ledger.position import Position
from tokenworks.ledger.reader import read, writers
from tokenworks.ledger.verify import verify_writer

EXAMPLES = 5  # places of entries that are named where it is unknown what they sent
REMOTE = "remote"  # the engine's name on entries


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Text of one label that went to one place. Bytes are those of HTTP, heads included, without TLS."""

    label: str
    destination: str
    region: str
    address: str  # host:port; empty for engines of this machine
    requests: int
    attempts: int
    prompt_tokens: int  # of the requests that it answered
    completion_tokens: int
    sent_bytes: int
    received_bytes: int
    first_at: float
    last_at: float


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of one writer were looked at, and the tree that they are verified under."""

    writer: str
    first: int | None  # None: nothing of it is from after `since`
    last: int | None
    entries: int  # of the whole log, all of them verified
    root: str  # hex RFC 6962 root over them
    signed: int | None = None  # entries below the newest signed checkpoint, where there is a key


class Sovereignty(msgspec.Struct, frozen=True, kw_only=True):
    """What left, what stayed, what is not known, and what that is proven by."""

    since: float
    until: float
    requests: int
    left: tuple[Flow, ...]
    stayed: tuple[Flow, ...]
    reached_nobody: int  # requests that were answered or refused before any engine was asked
    stayed_uncounted: int  # asked of engines here before bytes were counted
    unknown: int  # asked of a remote server before bytes were counted: where to and how much is not on the ledger
    unknown_at: tuple[str, ...]  # some of them, WRITER:INDEX
    proof: tuple[Stretch, ...]
    unmetered: tuple[str, ...] = ()  # other ways out that are configured, which this ledger does not count

    @property
    def nothing_left(self) -> bool:
        """Whether it is proven that no byte of a request left the site."""
        return not self.unknown and not any(flow.sent_bytes for flow in self.left)


class _Lane(NamedTuple):
    label: str
    destination: str
    region: str
    address: str


class _Sum:
    """What went along one lane so far."""

    def __init__(self) -> None:
        self.requests = self.attempts = self.prompt = self.completion = self.sent = self.received = 0
        self.first_at, self.last_at = float("inf"), float("-inf")

    def add(self, entry: RequestEntry, transfers: list[Transfer], *, answered: bool) -> None:
        self.requests += 1
        self.attempts += len(transfers)
        self.sent += sum(one.sent_bytes for one in transfers)
        self.received += sum(one.received_bytes for one in transfers)
        self.first_at, self.last_at = min(self.first_at, entry.at), max(self.last_at, entry.at)
        if answered:
            self.prompt += entry.prompt_tokens
            self.completion += entry.completion_tokens

    def flow(self, lane: _Lane) -> Flow:
        return Flow(
            label=lane.label,
            destination=lane.destination,
            region=lane.region,
            address=lane.address,
            requests=self.requests,
            attempts=self.attempts,
            prompt_tokens=self.prompt,
            completion_tokens=self.completion,
            sent_bytes=self.sent,
            received_bytes=self.received,
            first_at=self.first_at,
            last_at=self.last_at,
        )


class _Fold:
    """Entries one after the other; what they come to."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.requests = self.nobody = self.uncounted = self.unknown = 0
        self.unknown_at: list[str] = []
        self.reach: dict[str, tuple[int, int]] = {}  # writer -> first and last entry looked at
        self._sums: defaultdict[_Lane, _Sum] = defaultdict(_Sum)

    def add(self, position: Position, entry: AnyEntry) -> None:
        if entry.at < self.since:
            return
        first, _ = self.reach.get(position.writer, (position.index, 0))
        self.reach[position.writer] = first, position.index
        if not isinstance(entry, RequestEntry):
            return
        self.requests += 1
        if entry.transfers is None:
            self._old(position, entry)
        elif not entry.transfers:
            self.nobody += 1
        else:
            self._lanes(entry, entry.transfers)

    def flows(self) -> list[Flow]:
        return [total.flow(lane) for lane, total in sorted(self._sums.items())]

    def _old(self, position: Position, entry: RequestEntry) -> None:
        """Place an entry from before bytes were counted: only the alias `remote` could lead elsewhere then."""
        if entry.engine == REMOTE or (not entry.engine and entry.version.startswith(f"{REMOTE}@")):
            self.unknown += 1
            if len(self.unknown_at) < EXAMPLES:
                self.unknown_at.append(f"{position.writer}:{position.index}")
        elif entry.engine:
            self.uncounted += 1
        else:
            self.nobody += 1

    def _lanes(self, entry: RequestEntry, transfers: Iterable[Transfer]) -> None:
        lanes: defaultdict[_Lane, list[Transfer]] = defaultdict(list)
        for one in transfers:
            last = _Lane(one.label, one.destination, one.region, one.address)
            lanes[last].append(one)
        for lane, ours in lanes.items():
            self._sums[lane].add(entry, ours, answered=lane == last)


def sovereignty(
    root: Path, *, since: float, until: float, key: VerifierKey | None = None, unmetered: tuple[str, ...] = ()
) -> Sovereignty:
    """Return what the ledger at `root` says of requests that came after `since`, and verify that it is undamaged.

    A request's tokens are counted where its last attempt went. Raises `IntegrityError` where the log does not verify:
    from a damaged log nothing can be proven.
    """
    fold = _Fold(since)
    for position, entry in read(root):
        fold.add(position, entry)
    flows = fold.flows()
    return Sovereignty(
        since=since,
        until=until,
        requests=fold.requests,
        left=tuple(flow for flow in flows if flow.region != HERE),
        stayed=tuple(flow for flow in flows if flow.region == HERE),
        reached_nobody=fold.nobody,
        stayed_uncounted=fold.uncounted,
        unknown=fold.unknown,
        unknown_at=tuple(fold.unknown_at),
        # Verified after reading: the writer may have gone on meanwhile, so the tree covers what was read.
        proof=tuple(_stretch(root / writer, fold.reach.get(writer), key) for writer in writers(root)),
        unmetered=unmetered,
    )


def _stretch(log: Path, reach: tuple[int, int] | None, key: VerifierKey | None) -> Stretch:
    found = verify_writer(log, key)
    if not found.ok:
        raise IntegrityError(
            f"nothing can be proven from a damaged ledger: {found.problems[0]}; see 'tokenworks ledger verify'"
        )
    return Stretch(
        writer=log.name,
        first=reach[0] if reach else None,
        last=reach[1] if reach else None,
        entries=found.entries,
        root=found.roots[log.name],
        signed=found.signed.get(log.name),
    )
