"""One thing that is watched while the candidate is on trial: units of both arms, blocks of them, and the bets.

A unit is what was assigned to an arm: a user with the mean of the first few outcomes, or a request without a user.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tokenworks.flywheel.trial.bets import Wealth

Arm = Literal["incumbent", "candidate"]
MANY = 200  # units of one arm in a block, at most
BACKLOG = 64  # units waiting for the other arm before blocks take one more
EVEN = 0.5  # what a pair shows in which both did the same
FREE = 20  # units that a single source may always have


class Seen(msgspec.Struct):
    """The outcomes of a user so far."""

    arm: Arm
    first_at: float
    source: str
    total: float = 0.0
    count: int = 0


class Side(msgspec.Struct, kw_only=True):
    """One arm."""

    units: int = 0
    total: float = 0.0  # of the units' outcomes
    waiting: list[float] = []  # units that no block has yet; nobody has looked at them

    def take(self, most: int) -> list[float]:
        """Return the oldest waiting units."""
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        return taken


class Monitor(msgspec.Struct, kw_only=True):
    """Outcomes here are failures in [0, 1]: 0 is as it should be."""

    name: str
    shape: Literal["arms", "pairs"] = "arms"  # pairs: outcomes are 0.5 + (candidate - incumbent) / 2 of one request
    harm: Wealth  # that the candidate is worse, by more than its gap
    passes: Wealth  # that it is not worse by its gap, the margin
    gain: Wealth | None = None  # that it is better, where anybody wants to know
    per_user: int
    settle_s: float
    cap: float = 1.0  # the largest share of units from one source
    incumbent: Side = msgspec.field(default_factory=Side)
    candidate: Side = msgspec.field(default_factory=Side)
    seen: float = 20.0  # what blocks have shown of both arms, begun with a guess
    total: float = 1.0
    squares: float = 1.0
    blocks: int = 0
    open: dict[str, Seen] = {}
    settled: set[str] = set()
    sources: dict[str, int] = {}
    ignored: dict[str, int] = {}

    def observe(self, arm: Arm, failed: float, *, at: float, user: str, source: str) -> None:
        """Take one outcome."""
        self.tick(at)
        if not user:
            self._unit(arm, failed, source)
        elif user in self.settled:
            self._ignore("a user counts once")
        else:
            self._of_user(arm, failed, at=at, user=user, source=source)

    def tick(self, at: float) -> None:
        """Settle the users whose first outcome is `settle_s` seconds old."""
        while self.open:
            user = next(iter(self.open))
            if at - self.open[user].first_at < self.settle_s:
                return
            self._settle(user)

    def rate(self, arm: Arm) -> float:
        """Return the mean outcome of an arm's units so far; 0 of none."""
        side = self._side(arm)
        return side.total / side.units if side.units else 0.0

    def _of_user(self, arm: Arm, failed: float, *, at: float, user: str, source: str) -> None:
        known = self.open.get(user)
        if known is None:
            known = self.open[user] = Seen(arm, at, source)
        if known.arm != arm:
            self._ignore("a user who changed the arm")
            return
        known.total += failed
        known.count += 1
        if known.count >= self.per_user:
            self._settle(user)

    def _settle(self, user: str) -> None:
        known = self.open.pop(user)
        self.settled.add(user)
        self._unit(known.arm, known.total / known.count, known.source)

    def _unit(self, arm: Arm, failed: float, source: str) -> None:
        if source and not self._admits(source):
            self._ignore("too much from one source")
            return
        side = self._side(arm)
        side.units += 1
        side.total += failed
        side.waiting.append(failed)
        if self.shape == "pairs":
            self.incumbent.waiting.append(EVEN)
        while self.incumbent.waiting and self.candidate.waiting:
            self._block()

    def _admits(self, source: str) -> bool:
        """Return whether another unit of `source` counts; who is one of few cannot be outvoted, and is not capped."""
        count, everybody = self.sources.get(source, 0), sum(self.sources.values())
        share = max(self.cap, 2.0 / max(1, len(self.sources)))
        if count >= max(FREE, share * everybody):
            return False
        self.sources[source] = count + 1
        return True

    def _block(self) -> None:
        # How many units a block has depends on how many came, never on what they showed.
        mine = self.candidate.take(_size(self.candidate, self.incumbent))
        theirs = self.incumbent.take(_size(self.incumbent, self.candidate))
        self.play(mine, theirs)

    def play(self, mine: list[float], theirs: list[float]) -> None:
        """Bet on a block of both arms, then learn from it for the next."""
        rate = self.total / self.seen
        variance = self.squares / self.seen - rate * rate
        for wealth in filter(None, (self.harm, self.passes, self.gain)):
            highest = 0.98 - wealth.gap
            wealth.bet(mine, theirs, rate=min(max(rate, 0.002), highest), variance=variance)
        self.blocks += 1
        self.seen += len(mine) + len(theirs)
        self.total += sum(mine) + sum(theirs)
        self.squares += sum(x * x for x in mine) + sum(x * x for x in theirs)

    def _side(self, arm: Arm) -> Side:
        return self.incumbent if arm == "incumbent" else self.candidate

    def _ignore(self, why: str) -> None:
        self.ignored[why] = self.ignored.get(why, 0) + 1


def _size(side: Side, other: Side) -> int:
    """Return how many units of `side` go against those of `other`, so that neither piles up."""
    size = max(1, round(side.units / max(1, other.units)))
    return min(MANY, size + (len(side.waiting) > 4 * size + BACKLOG))
