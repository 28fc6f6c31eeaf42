"""Receipts: what a caller is given at once, so that an entry that is missing later can be proven to have been promised.

A receipt is a signed note: the log, the entry's number, its leaf hash, the request and the time. Whoever holds one and
is shown, under a signed checkpoint, another leaf at that number holds two statements that cannot both be true.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from tokenworks.core.errors import IntegrityError
from tokenworks.ledger.checkpoint import origin_of
from tokenworks.ledger.merkle import leaf_hash
from tokenworks.ledger.note import Note, SignerKey, VerifierKey
from tokenworks.ledger.position import Position

KIND = "/receipt"  # ends the first line, which in a checkpoint is followed by a size: no text is both


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What the log promised."""

    origin: str
    index: int
    leaf: str  # base64
    request_id: str
    at: float  # Unix seconds


def give(key: SignerKey, position: Position, payload: bytes, request_id: str, at: float) -> str:
    """Return the receipt of an entry in one line, as it goes into a header."""
    origin, leaf = origin_of(key.name, position.writer), base64.b64encode(leaf_hash(payload)).decode()
    text = f"{origin}{KIND}\nindex {position.index}\nleaf {leaf}\nrequest {request_id}\ntime {at:.3f}\n"
    return base64.b64encode(str(Note(text, (key.sign(text),))).encode()).decode()


def read(line: str, key: VerifierKey) -> Receipt:
    """Return what a receipt promises; raise `IntegrityError` where it is none of that log's."""
    try:
        note = Note.parse(base64.b64decode(line.strip(), validate=True).decode())
        origin, *rest = note.text.removesuffix("\n").split("\n")
        names, values = zip(*(each.split(" ", 1) for each in rest), strict=True)
        index, leaf, request_id, at = values
        found = Receipt(
            origin=origin.removesuffix(KIND), index=int(index), leaf=leaf, request_id=request_id, at=float(at)
        )
    except (binascii.Error, ValueError):
        raise IntegrityError("receipt: damaged; give the whole value of the header x-tokenworks-receipt") from None
    if not origin.endswith(KIND) or names != ("index", "leaf", "request", "time"):
        raise IntegrityError("receipt: a signed note, but not a receipt")
    if key.alone.verified(note) is None or not origin.startswith(f"{key.name}/"):
        raise IntegrityError(f"receipt: not signed by {key.name}")
    return found


def check_kept(receipt: Receipt, origin: str, index: int, size: int, payload_leaf: str) -> None:
    """Raise `IntegrityError` where a proven entry shows that what was promised is not in the log."""
    if origin != receipt.origin or index != receipt.index:
        raise IntegrityError(
            f"the proof is of entry {index} of {origin}; the receipt is of entry {receipt.index} of {receipt.origin}: "
            "ask for the proof of that one"
        )
    if payload_leaf != receipt.leaf:
        raise IntegrityError(
            f"OMITTED: {origin} promised request {receipt.request_id} as entry {index}, and now, with {size} entries, "
            "has another one there; the receipt and this proof together show it"
        )
