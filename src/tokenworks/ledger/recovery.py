"""What a writer does when it opens a log: go from the last tree head to the end, and cut off what a crash tore."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tokenworks.core.clock import Clock
from tokenworks.core.errors import ConfigError, IntegrityError
from tokenworks.ledger import heads, segment
from tokenworks.ledger.merkle import Frontier, hash_leaves


class Tail(NamedTuple):
    """Where the next entry goes."""

    path: Path
    tree: Frontier
    offset: int


def recover(folder: Path, clock: Clock, signer: heads.Signer | None = None) -> Tail | None:
    """Return the end of the log, mended if the last write was torn; None where there is no log yet.

    Reads only what came after the last tree head. Raises `IntegrityError` for damage that no crash explains.
    """
    paths = segment.segments(folder)
    if not paths:
        _refuse_emptied(folder)
        return None
    head = heads.read_head(folder / heads.LATEST)
    _refuse_unsigned(folder, head, signer)
    tree, offset = heads.grow_from(head), head.offset
    todo = [path for path in paths if int(path.stem) >= head.segment]
    if not todo or int(todo[0].stem) != head.segment:
        raise _lost(folder, f"the segment {segment.segment_name(head.segment)} is missing")
    for path in todo:
        if int(path.stem) != tree.size and path is not todo[0]:
            raise _lost(folder, f"the entries {tree.size} to {int(path.stem) - 1} before {path.name} are missing")
        offset = _walk(path, offset, tree, is_last=path is todo[-1])
        if path is not todo[-1]:
            closing = heads.tree_head(
                tree, segment=tree.size, offset=segment.HEADER_BYTES, at=clock.now(), signer=signer
            )
            heads.write_closing(path, closing)
            offset = segment.HEADER_BYTES
    return Tail(todo[-1], tree, offset)


def _walk(path: Path, offset: int, tree: Frontier, *, is_last: bool) -> int:
    """Add the segment's entries from `offset` on to `tree`; return where they end."""
    found = segment.load(path, offset, tree.size)
    tree.extend(hash_leaves(found.data, found.leaves))
    if found.ending == "damaged" or (found.ending == "torn" and not is_last):
        raise _lost(path.parent, f"{path.name} is damaged at byte {found.stop}, entry {tree.size}")
    if found.ending == "torn":
        _blank(path, found.stop, len(found.data))
    return found.stop


def _blank(path: Path, start: int, end: int) -> None:
    """Put zeros where a torn write left parts of entries that nobody was told were kept."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(end - start))
        file.flush()
        os.fdatasync(file.fileno())


def _refuse_emptied(folder: Path) -> None:
    """Refuse to begin anew where a tree head says that there were entries."""
    path = folder / heads.LATEST
    if path.exists() and (size := heads.read_head(path).size):
        raise _lost(folder, f"its {size} entries are missing")


def _refuse_unsigned(folder: Path, head: heads.TreeHead, signer: heads.Signer | None) -> None:
    """Refuse to go on from a head that somebody else made, who would then have our signature below it."""
    if signer is None and head.checkpoint:
        raise ConfigError(f"ledger {folder}: its checkpoints are signed; open it with the key that signed them")
    if signer and head.size and not signer.made(head.checkpoint, head.size, bytes.fromhex(head.root)):
        raise IntegrityError(
            f"ledger {folder}: the last tree head, of {head.size} entries, is not signed with this ledger's key. "
            "If the log is older than the key, run 'tokenworks ledger sign'; else restore the folder from a backup"
        )


def _lost(folder: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"ledger {folder}: {what}. Run 'tokenworks ledger verify'; restore the folder from a backup, "
        "or move it out of the ledger and start a new log"
    )
