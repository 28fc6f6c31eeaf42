"""Proofs that travel: an entry is in a log (c2sp.org/tlog-proof); a log only grew. Text that is checked offline."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from tokenworks.core.errors import IntegrityError
from tokenworks.ledger.checkpoint import Checkpoint, open_checkpoint
from tokenworks.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from tokenworks.ledger.note import Note, VerifierKey
from tokenworks.ledger.tiles import Tiles

MAGIC = "c2sp.org/tlog-proof@v1"
MAX_PATH = 63


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof shows."""

    origin: str
    index: int
    size: int  # entries below the checkpoint
    entry: dict[str, Any]
    leaf: str  # base64, the hash of the entry
    cosigned: dict[str, float]  # witness -> when it saw the log with it, Unix seconds


def prove_entry(tiles: Tiles, index: int, checkpoint: str) -> str:
    """Return the proof that entry `index` is in the log of `checkpoint`, with the entry itself.

    Raises `IntegrityError` where the log is not that of the checkpoint, or ends before the entry.
    """
    found = Checkpoint.read(Note.parse(checkpoint))
    if not 0 <= index < found.size:
        raise IntegrityError(f"entry {index} is not below the checkpoint of {found.size} entries; wait a second for it")
    tiles.fit(found.size, found.root)
    payload, path = tiles.payload(index), tiles.inclusion(index, found.size)
    if not verify_inclusion(index, found.size, leaf_hash(payload), path, found.root):
        raise IntegrityError(f"entry {index} of {found.origin} was changed: run 'tokenworks ledger verify'")
    return "\n".join([MAGIC, f"extra {_encoded(payload)}", f"index {index}", *map(_encoded, path), "", checkpoint])


def check_entry(proof: str, key: VerifierKey, witnesses: Sequence[VerifierKey] = ()) -> Proven:
    """Return what `proof` shows to somebody who trusts `key`; raise `IntegrityError` where it shows nothing.

    Every one of `witnesses` must have cosigned.
    """
    above, _, checkpoint = proof.partition("\n\n")
    magic, extra, index, *path = [*above.split("\n"), "", ""]
    if magic != MAGIC or not extra.startswith("extra ") or not index.removeprefix("index ").isdecimal():
        raise IntegrityError(f"not a proof of an entry: it should begin with {MAGIC}, extra and index")
    note, found = open_checkpoint(checkpoint, key)
    payload, number = _decoded(extra.removeprefix("extra ")), int(index.removeprefix("index "))
    hashes = [_decoded(line) for line in path if line]
    if not verify_inclusion(number, found.size, leaf_hash(payload), hashes, found.root):
        raise IntegrityError(f"the entry is not number {number} of {found.origin} as of {found.size} entries")
    return Proven(
        origin=found.origin,
        index=number,
        size=found.size,
        entry=msgspec.msgpack.decode(payload),
        leaf=_encoded(leaf_hash(payload)),
        cosigned={witness.name: _cosigned(note, witness) for witness in witnesses},
    )


def prove_growth(tiles: Tiles, old: int, checkpoint: str) -> str:
    """Return the proof that the log of `checkpoint` begins with the `old` entries that somebody saw.

    The text is what a witness is sent (c2sp.org/tlog-witness, add-checkpoint). Raises `IntegrityError`.
    """
    found = Checkpoint.read(Note.parse(checkpoint))
    if old > found.size:
        raise IntegrityError(f"{found.origin}: {found.size} entries now, where there were {old}: rolled back")
    tiles.fit(found.size, found.root)
    path = tiles.consistency(old, found.size) if old else []
    return "\n".join([f"old {old}", *map(_encoded, path), "", checkpoint])


def read_growth(proof: str) -> tuple[int, list[bytes], str]:
    """Return old size, hashes and checkpoint of the text; raise `IntegrityError` where it is no such proof."""
    above, gap, checkpoint = proof.partition("\n\n")
    first, *path = above.split("\n")
    size = first.removeprefix("old ")
    if not gap or not first.startswith("old ") or not (size.isascii() and size.isdigit()) or len(path) > MAX_PATH:
        raise IntegrityError("not a proof of growth: it should begin with the old size")
    return int(size), [_decoded(line) for line in path], checkpoint


def check_growth(proof: str, old: Checkpoint, key: VerifierKey) -> Checkpoint:
    """Return the newer checkpoint that `proof` shows to begin with `old`; raise `IntegrityError` where it does not."""
    size, path, checkpoint = read_growth(proof)
    _, new = open_checkpoint(checkpoint, key)
    if new.origin != old.origin or size != old.size:
        raise IntegrityError(f"the proof goes from {size} entries of {new.origin}, not from {old.size} of {old.origin}")
    if size and not verify_consistency(size, new.size, old.root, new.root, path):
        raise IntegrityError(
            f"{new.origin}: the first {size} of its {new.size} entries are not those that were there before: a fork"
        )
    return new


def _cosigned(note: Note, witness: VerifierKey) -> float:
    at = witness.verified(note)
    if at is None:
        raise IntegrityError(f"the checkpoint is not cosigned by {witness.name}")
    return at


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(line: str) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raise IntegrityError(f"proof: {line[:80]!r} is not base64") from None
