"""Tree heads: how large a writer's log was at a moment, and the root hash over it. Replaced whole."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tokenworks.core.errors import IntegrityError
from tokenworks.core.files import write_atomic
from tokenworks.ledger.merkle import Frontier

LATEST = "head.json"


class TreeHead(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint of one writer's log. A later form adds a signature and witnesses."""

    size: int  # entries
    root: str  # hex, RFC 6962
    frontier: tuple[str, ...]  # hex: the perfect subtrees, so that appending goes on without reading the past
    segment: int  # number of the first entry of the segment that comes next
    offset: int  # where in that segment the next frame goes
    at: float


def tree_head(frontier: Frontier, *, segment: int, offset: int, at: float) -> TreeHead:
    """Return the head of the tree as it is now."""
    return TreeHead(
        size=frontier.size,
        root=frontier.root().hex(),
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
