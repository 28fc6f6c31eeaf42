"""Proofs from a ledger on disk: which entry is meant, under which checkpoint, with which view of the tree."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from tokenworks.core.errors import DataError, IntegrityError, NotFoundError
from tokenworks.ledger import heads
from tokenworks.ledger.checkpoint import Checkpoint
from tokenworks.ledger.finding import place_of
from tokenworks.ledger.note import Note
from tokenworks.ledger.proof import prove_entry, prove_growth
from tokenworks.ledger.tiles import Tiles


def entry_proof(root: Path, views: Path, name: str, witness: Path | None = None) -> str:
    """Return the proof of the entry that `name` means, under the newest checkpoint, or under what `witness` cosigned.

    `witness` is the folder of one; `views` is where the inner hashes of trees are kept.
    Raises `NotFoundError` where there is no such entry, `IntegrityError` where the log is not what was signed.
    """
    place = place_of(root, name)
    checkpoint = _newest(root, place.writer)
    if witness:
        checkpoint = _cosigned(witness, Checkpoint.read(Note.parse(checkpoint)).origin)
    return prove_entry(Tiles(root / place.writer, views / place.writer), place.index, checkpoint)


def growth_proof(root: Path, views: Path, writer: str, since: Path) -> str:
    """Return the proof that the log of `writer` begins with the checkpoint in the file `since`."""
    if not since.exists():
        raise DataError(f"{since}: no such file; give a checkpoint, as in WRITER/head.json or a witness's folder")
    old = Checkpoint.read(Note.parse(since.read_text(encoding="utf-8")))
    return prove_growth(Tiles(root / writer, views / writer), old.size, _newest(root, writer))


def _newest(root: Path, writer: str) -> str:
    head = heads.read_head(root / writer / heads.LATEST)
    if not head.checkpoint:
        raise IntegrityError(f"ledger of {writer}: not signed yet; run 'tokenworks ledger sign'")
    return head.checkpoint


def _cosigned(witness: Path, origin: str) -> str:
    path = witness / sha256(origin.encode()).hexdigest() / "checkpoint"
    if not path.exists():
        raise NotFoundError(f"{witness}: not seen by that witness: {origin}; run 'tokenworks ledger watch'")
    return path.read_text(encoding="utf-8")
