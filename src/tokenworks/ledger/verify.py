"""Check the whole ledger: every frame, every number, every tree head. Changes nothing, and may run beside writers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from tokenworks.core.clock import iso
from tokenworks.core.errors import IntegrityError
from tokenworks.ledger import heads, segment
from tokenworks.ledger.checkpoint import Checkpoint, open_checkpoint, origin_of
from tokenworks.ledger.merkle import Frontier, hash_leaves
from tokenworks.ledger.note import Note, VerifierKey
from tokenworks.ledger.reader import writers


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it was written."""

    writer: str
    file: str
    what: str
    index: int  # of the first entry concerned
    end: int | None = None  # after the last entry concerned, where known
    offset: int = 0  # in the file, where known

    def __str__(self) -> str:
        return f"{self.writer}/{self.file} byte {self.offset}, entry {self.index}: {self.what}"


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found."""

    entries: int
    writers: tuple[str, ...]
    problems: tuple[Problem, ...]
    roots: dict[str, str]  # writer -> hex RFC 6962 root over all its entries; undamaged writers only
    signed: dict[str, int] = {}  # writer -> entries below its newest signed checkpoint, where a key was given
    witnessed: dict[str, int] = {}  # writer -> entries below the newest head that a witness remembers

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return not self.problems


class Anchor(NamedTuple):
    """A size and a root that somebody vouches for: the first entries must have that root."""

    size: int
    root: bytes
    at: float  # Unix seconds
    who: str  # how it is called in a message
    is_witness: bool = False  # whoever forges a log forges its own heads too, but not these


def verify(
    root: Path, *, key: VerifierKey | None = None, witnessed: Mapping[str, Sequence[Anchor]] | None = None
) -> Verification:
    """Check every writer's log below `root`; problems are reported, not raised.

    With `key`, each log must end in a checkpoint signed with it. `witnessed` is what a witness remembers of each
    writer: entries that it saw must still be there, and the same.
    """
    remembered = witnessed or {}
    names = sorted({*writers(root), *remembered})
    return _summed([_checked(root / name, key, remembered.get(name, ())) for name in names])


def verify_writer(log: Path, key: VerifierKey | None, witnessed: Sequence[Anchor] = ()) -> Verification:
    """Check one writer's log, as `verify` checks all."""
    return _summed([_checked(log, key, witnessed)])


def _checked(log: Path, key: VerifierKey | None, witnessed: Sequence[Anchor]) -> _Check:
    check = _Check(log, key, witnessed)
    check.run()
    return check


def _summed(checks: Sequence[_Check]) -> Verification:
    return Verification(
        entries=sum(check.entries for check in checks),
        writers=tuple(check.folder.name for check in checks),
        problems=tuple(problem for check in checks for problem in check.problems),
        roots={check.folder.name: check.tree.root().hex() for check in checks if not check.is_lost},
        signed={check.folder.name: check.signed for check in checks if check.signed is not None},
        witnessed={check.folder.name: check.witnessed for check in checks if check.witnessed is not None},
    )


class _Check:
    """One pass over one writer's log."""

    def __init__(self, folder: Path, key: VerifierKey | None, witnessed: Sequence[Anchor]) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self.tree = Frontier()
        self.entries = 0
        self.signed: int | None = None
        self.is_lost = False  # after damage the tree cannot be followed any further
        self.witnessed = max((anchor.size for anchor in witnessed), default=None)
        self._key, self._witnessed = key, witnessed
        self._good = {False: 0, True: 0}  # entries up to the last anchor that agreed; of a witness: by witnesses alone
        self._anchors: deque[Anchor] = deque()  # still ahead, smallest first

    def run(self) -> None:
        # Heads first: beside a running writer there may be more entries than a head knows, never fewer.
        latest = self._read(self.folder / heads.LATEST, 0, is_latest=True)
        paths = segment.segments(self.folder)
        closing = [self._read(path.with_suffix(".head"), int(path.stem)) for path in paths[:-1]]
        known = [_anchor(head) for head in (*closing, latest) if head]
        self._anchors = deque(sorted([*known, *self._witnessed]))
        must_be_there = max(self._anchors, default=None)
        number = 0
        for path in paths:
            number = self._segment(path, number, must_be_there, is_last=path == paths[-1])
        if must_be_there and must_be_there.size > number and not self.is_lost:
            last = paths[-1].name if paths else heads.LATEST
            self._report(last, number, _missing(number, must_be_there), end=must_be_there.size)

    def _segment(self, path: Path, number: int, must_be_there: Anchor | None, *, is_last: bool) -> int:
        """Check one file whose first entry should be `number`; return the number after its last."""
        try:
            found = segment.load(path)
        except IntegrityError as error:
            self._report(path.name, number, str(error))
            return number
        if found.first != number:
            what = f"the entries {number} to {found.first - 1} before this file are missing"
            self._report(path.name, number, what, end=found.first)
        self.entries += len(found.leaves)
        after = found.first + len(found.leaves)
        self._follow(path, hash_leaves(found.data, found.leaves))
        is_short = must_be_there is not None and after < must_be_there.size
        if found.ending == "damaged" or (found.ending == "torn" and (not is_last or is_short)):
            self._report(path.name, after, "damaged: the checksum does not fit the bytes", offset=found.stop)
        return after

    def _follow(self, path: Path, leaves: list[bytes]) -> None:
        """Grow the tree by `leaves`, comparing it with every anchor that falls among them."""
        done = 0
        while self._anchors and not self.is_lost:
            ahead = self._anchors[0].size - self.tree.size
            if ahead > len(leaves) - done:
                break
            anchor = self._anchors.popleft()
            if ahead < 0:
                continue
            self.tree.extend(leaves[done : done + ahead])
            done += ahead
            if self.tree.root() != anchor.root:
                good = self._good[anchor.is_witness]
                self._report(path.name, good, _changed(good, anchor), end=anchor.size)
                continue
            self._good[False] = anchor.size
            if anchor.is_witness:
                self._good[True] = anchor.size
        self.tree.extend(leaves[done:])

    def _read(self, path: Path, index: int, *, is_latest: bool = False) -> heads.TreeHead | None:
        try:
            head = heads.read_head(path)
            if self._key and (head.checkpoint or is_latest):
                self._check_signature(self._key, head, is_latest=is_latest)
                self.signed = max(self.signed or 0, head.size)
            return head
        except IntegrityError as error:
            self.problems.append(Problem(writer=self.folder.name, file=path.name, index=index, what=str(error)))
            return None

    def _check_signature(self, key: VerifierKey, head: heads.TreeHead, *, is_latest: bool) -> None:
        if not head.checkpoint:
            raise IntegrityError(f"the tree head of {head.size} entries is not signed by {key.name}")
        # Segments may be older than an ML-DSA key; the newest head, which covers them, is not.
        younger = key.beside and (is_latest or key.beside.signed(Note.parse(head.checkpoint)))
        _, found = open_checkpoint(head.checkpoint, key if younger else key.alone)
        if found != Checkpoint(origin_of(key.name, self.folder.name), head.size, bytes.fromhex(head.root)):
            raise IntegrityError(f"the checkpoint of {found.origin} over {found.size} entries is not that of this head")

    def _report(self, file: str, index: int, what: str, *, end: int | None = None, offset: int = 0) -> None:
        self.is_lost = True
        self.problems.append(
            Problem(writer=self.folder.name, file=file, index=index, end=end, offset=offset, what=what)
        )


def _anchor(head: heads.TreeHead) -> Anchor:
    return Anchor(head.size, bytes.fromhex(head.root), head.at, "the tree head")


def _changed(good: int, anchor: Anchor) -> str:
    return (
        f"among the entries {good} to {anchor.size - 1} one or more were changed, deleted, inserted or "
        f"reordered after {anchor.who} of {iso(anchor.at)}"
    )


def _missing(number: int, anchor: Anchor) -> str:
    return f"{anchor.size - number} entries at the end are missing, that were there at {anchor.who} of {iso(anchor.at)}"
