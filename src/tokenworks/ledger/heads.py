"""Tree heads: how large a writer's log was at a moment, and the root hash over it. Replaced whole."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from tokenworks.core.errors import IntegrityError
from tokenworks.core.files import write_atomic
from tokenworks.ledger.merkle import Frontier

LATEST = "head.json"


class TreeHead(msgspec.Struct, frozen=True, kw_only=True):
    """How far one writer's log had come, with the signed checkpoint that says the same where the ledger has a key."""

    size: int  # entries
    root: str  # hex, RFC 6962
    frontier: tuple[str, ...]  # hex: the perfect subtrees, so that appending goes on without reading the past
    segment: int  # number of the first entry of the segment that comes next
    offset: int  # where in that segment the next frame goes
    at: float
    checkpoint: str = ""  # a signed note


class Signer(Protocol):
    """Who answers for a log."""

    def checkpoint(self, size: int, root: bytes) -> str:
        """Return the signed note that says so."""
        ...

    def made(self, checkpoint: str, size: int, root: bytes) -> bool:
        """Return whether the note is one of its own, and says that."""
        ...


def tree_head(frontier: Frontier, *, segment: int, offset: int, at: float, signer: Signer | None = None) -> TreeHead:
    """Return the head of the tree as it is now, signed where there is a signer."""
    root = frontier.root()
    return TreeHead(
        size=frontier.size,
        root=root.hex(),
        checkpoint=signer.checkpoint(frontier.size, root) if signer else "",
        frontier=tuple(part.hex() for part in frontier.hashes),
        segment=segment,
        offset=offset,
        at=at,
    )


def grow_from(head: TreeHead) -> Frontier:
    """Return the tree of `head`, ready to grow."""
    return Frontier(head.size, [bytes.fromhex(part) for part in head.frontier])


def write_latest(folder: Path, head: TreeHead) -> None:
    """Replace the writer's newest head."""
    write_atomic(folder / LATEST, msgspec.json.encode(head))


def write_closing(segment: Path, head: TreeHead) -> None:
    """Keep the head that a full segment ended with."""
    write_atomic(segment.with_suffix(".head"), msgspec.json.encode(head))


def read_head(path: Path) -> TreeHead:
    """Return the head in the file; raise `IntegrityError` where it is missing or contradicts itself."""
    try:
        head = msgspec.json.decode(path.read_bytes(), type=TreeHead)
        consistent = grow_from(head).root().hex() == head.root
    except FileNotFoundError:
        raise IntegrityError(f"{path}: the tree head is missing") from None
    except (msgspec.DecodeError, ValueError):
        consistent = False
    if not consistent:
        raise IntegrityError(f"{path}: the tree head is damaged")
    return head
