"""Check the whole ledger: every frame, every number, every tree head. Changes nothing, and may run beside writers."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tokenworks.core.clock import iso
from tokenworks.core.errors import IntegrityError
from tokenworks.ledger import heads, segment
from tokenworks.ledger.merkle import Frontier, hash_leaves
from tokenworks.ledger.reader import writers


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it was written."""

    writer: str
    file: str
    what: str
    index: int  # of the first entry concerned
    offset: int = 0  # in the file, where known

    def __str__(self) -> str:
        return f"{self.writer}/{self.file} byte {self.offset}, entry {self.index}: {self.what}"


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found."""

    entries: int
    writers: tuple[str, ...]
    problems: tuple[Problem, ...]
    roots: dict[str, str]  # writer -> hex RFC 6962 root over all its entries; undamaged writers only

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return not self.problems


def verify(root: Path) -> Verification:
    """Check every writer's log below `root`; problems are reported, not raised."""
    checks = [_Check(root / name) for name in writers(root)]
    for check in checks:
        check.run()
    return Verification(
        entries=sum(check.entries for check in checks),
        writers=tuple(check.folder.name for check in checks),
        problems=tuple(problem for check in checks for problem in check.problems),
        roots={check.folder.name: check.tree.root().hex() for check in checks if not check.is_lost},
    )


class _Check:
    """One pass over one writer's log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self.tree = Frontier()
        self.entries = 0
        self.is_lost = False  # after damage the tree cannot be followed any further
        self._good = 0  # entries up to the last tree head that agreed

    def run(self) -> None:
        # Heads first: beside a running writer there may be more entries than a head knows, never fewer.
        latest = self._read_latest()
        paths = segment.segments(self.folder)
        closing = {path: self._read_closing(path) for path in paths[:-1]}
        number = 0
        for path in paths:
            number = self._segment(
                path, number, [head for head in (closing.get(path), latest) if head], path == paths[-1]
            )
        if latest and latest.size > number and not self.is_lost:
            last = paths[-1].name if paths else heads.LATEST
            self._report(
                last, number, f"{latest.size - number} entries at the end are missing, that were there {iso(latest.at)}"
            )

    def _segment(self, path: Path, number: int, known: list[heads.TreeHead], is_last: bool) -> int:
        """Check one file whose first entry should be `number`; return the number after its last."""
        try:
            found = segment.load(path)
        except IntegrityError as error:
            self._report(path.name, number, str(error))
            return number
        if found.first != number:
            self._report(path.name, number, f"the entries {number} to {found.first - 1} before this file are missing")
        self.entries += len(found.leaves)
        after = found.first + len(found.leaves)
        self._follow(path, hash_leaves(found.data, found.leaves), known)
        must_be_there = max((head.size for head in known), default=0)
        if found.ending == "damaged" or (found.ending == "torn" and (not is_last or after < must_be_there)):
            self._report(path.name, after, "damaged: the checksum does not fit the bytes", found.stop)
        return after

    def _follow(self, path: Path, leaves: list[bytes], known: list[heads.TreeHead]) -> None:
        """Grow the tree by `leaves`, comparing it with every head that falls among them."""
        done = 0
        for head in sorted(known, key=lambda head: head.size):
            ahead = head.size - self.tree.size
            if self.is_lost or not 0 <= ahead <= len(leaves) - done:
                continue
            self.tree.extend(leaves[done : done + ahead])
            done += ahead
            if self.tree.root().hex() != head.root:
                self._report(path.name, self._good, self._changed(head))
            else:
                self._good = head.size
        self.tree.extend(leaves[done:])

    def _changed(self, head: heads.TreeHead) -> str:
        return (
            f"among the entries {self._good} to {head.size - 1} one or more were changed, deleted, inserted or "
            f"reordered after the tree head of {iso(head.at)}"
        )

    def _read_latest(self) -> heads.TreeHead | None:
        return self._read(self.folder / heads.LATEST, 0)

    def _read_closing(self, path: Path) -> heads.TreeHead | None:
        return self._read(path.with_suffix(".head"), int(path.stem))

    def _read(self, path: Path, index: int) -> heads.TreeHead | None:
        try:
            return heads.read_head(path)
        except IntegrityError as error:
            self.problems.append(Problem(writer=self.folder.name, file=path.name, index=index, what=str(error)))
            return None

    def _report(self, file: str, index: int, what: str, offset: int = 0) -> None:
        self.is_lost = True
        self.problems.append(Problem(writer=self.folder.name, file=file, index=index, offset=offset, what=what))
