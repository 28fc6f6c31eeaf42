"""Checkpoints (c2sp.org/tlog-checkpoint): the size and the root of a log, signed. Knows notes, no file and no entry."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Self

from tokenworks.core.errors import IntegrityError
from tokenworks.ledger.note import Note, SignerKey, VerifierKey


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself."""

    origin: str  # which log
    size: int  # entries
    root: bytes  # RFC 6962

    @classmethod
    def read(cls, note: Note) -> Self:
        """Return what a note says; raise `IntegrityError` where it is no checkpoint. Verifies no signature."""
        lines = note.text.split("\n")
        try:
            root = base64.b64decode(lines[2], validate=True)
        except (IndexError, binascii.Error, ValueError):
            root = b""
        size = lines[1] if len(lines) > 1 else ""
        if len(root) != 32 or not lines[0] or not _is_size(size):
            raise IntegrityError("checkpoint: not a log's name, a size and a root")
        return cls(lines[0], int(size), root)

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def signed(self, key: SignerKey) -> Note:
        """Return it with the signature of its log, or both."""
        return Note(self.text, key.signatures(self.text))


@dataclass(frozen=True)
class LogSigner:
    """Signs the checkpoints of one writer's log."""

    key: SignerKey
    writer: str

    def checkpoint(self, size: int, root: bytes) -> str:
        """Return the signed checkpoint as it is kept."""
        return str(Checkpoint(origin_of(self.key.name, self.writer), size, root).signed(self.key))

    def made(self, checkpoint: str, size: int, root: bytes) -> bool:
        """Return whether the note is one of its own, and says that."""
        expected = Checkpoint(origin_of(self.key.name, self.writer), size, root)
        try:
            return open_checkpoint(checkpoint, self.key.public)[1] == expected
        except IntegrityError:
            return False


def origin_of(ledger: str, writer: str) -> str:
    """Return the name of the log of `writer` in the ledger whose key is named `ledger`."""
    return f"{ledger}/{writer}"


def open_checkpoint(written: str, key: VerifierKey) -> tuple[Note, Checkpoint]:
    """Return a checkpoint that `key` has signed for one of its own logs; raise `IntegrityError` for any other."""
    note = Note.parse(written)
    found = Checkpoint.read(note)
    if key.verified(note) is None:
        raise IntegrityError(f"checkpoint of {found.origin}: not signed by {key.name}")
    if not found.origin.startswith(f"{key.name}/"):
        raise IntegrityError(f"checkpoint of {found.origin}: signed by {key.name}, whose log it is not")
    return note, found


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text[:20])) == text
