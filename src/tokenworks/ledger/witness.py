"""A witness: it remembers how far it saw each log, and cosigns a checkpoint only when the log grew from there.

What it knows lies in a folder of its own, best under another user or on another host: then neither a log that was
rolled back nor one that was written anew can pass it, whoever holds the log's key.
"""

from __future__ import annotations

import base64
import os
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from tokenworks.core.clock import Clock, SystemClock
from tokenworks.core.errors import ConfigError, ConflictError, IntegrityError
from tokenworks.core.files import locked, write_atomic
from tokenworks.ledger.checkpoint import Checkpoint, open_checkpoint
from tokenworks.ledger.merkle import EMPTY_ROOT
from tokenworks.ledger.note import WITNESS, Note, VerifierKey
from tokenworks.ledger.proof import check_growth, read_growth
from tokenworks.ledger.signing import ensure_key
from tokenworks.ledger.verify import Anchor

SECRET, PUBLIC = "witness.key", "witness.vkey"
LOG_KEY = "log.vkey"
CHECKPOINT, HISTORY, EVIDENCE = "checkpoint", "history", "evidence"


class Seen(NamedTuple):
    """The newest that a witness knows of a log."""

    note: Note
    checkpoint: Checkpoint


class StaleError(ConflictError):
    """The proof does not begin where the witness last saw the log."""

    def __init__(self, origin: str, size: int) -> None:
        super().__init__(f"{origin}: last seen with {size} entries; prove the growth from there")
        self.size = size


class Witness:
    """The witness whose memory is `folder`, for the logs signed with `key` (None: the key that it knows already)."""

    def __init__(
        self, folder: Path, key: VerifierKey | None = None, *, name: str = "", clock: Clock | None = None
    ) -> None:
        name = name or f"witness/{os.urandom(6).hex()}"
        self._folder, self._clock = folder, clock or SystemClock()
        self._signer = ensure_key(folder, SECRET, PUBLIC, name=name, kind=WITNESS)
        self.log_key = _pinned(folder / LOG_KEY, key)

    @property
    def public(self) -> VerifierKey:
        """By which others check its cosignatures."""
        return self._signer.public

    @property
    def folder(self) -> Path:
        """Where it keeps what it saw."""
        return self._folder

    def folder_of(self, origin: str) -> Path:
        """Return where it keeps what it knows of a log: named as its address in the witness protocol."""
        return self._folder / sha256(origin.encode()).hexdigest()

    def last(self, origin: str) -> Seen | None:
        """Return the newest checkpoint that it cosigned; None for a log that it never saw."""
        path = self.folder_of(origin) / CHECKPOINT
        if not path.exists():
            return None
        note = Note.parse(path.read_text(encoding="utf-8"))
        if self.public.verified(note) is None:
            raise IntegrityError(f"{path}: not cosigned by this witness; restore its folder from a backup")
        return Seen(note, Checkpoint.read(note))

    def add(self, proof: str) -> Note:
        """Cosign the checkpoint of a proof of growth, and remember it; return it with the cosignature.

        Raises `StaleError` where the proof begins elsewhere than at the last checkpoint seen, and `IntegrityError`
        for a checkpoint not signed by the log, and for one that forgets entries: that one is kept as evidence.
        """
        old_size, _, written = read_growth(proof)
        note, found = open_checkpoint(written, self.log_key)
        folder = self.folder_of(found.origin)
        with locked(folder / "lock"):
            seen = self.last(found.origin)
            last = seen.checkpoint if seen else Checkpoint(found.origin, 0, EMPTY_ROOT)
            if found.size < last.size:
                raise self._refused(folder, written, f"{found.size} entries where {last.size} were seen: rolled back")
            if old_size != last.size:
                raise StaleError(found.origin, last.size)
            try:
                check_growth(proof, last, self.log_key)
            except IntegrityError as error:
                raise self._refused(folder, written, str(error)) from error
            return self._cosigned(folder, note, found)

    def history(self, origin: str) -> list[Anchor]:
        """Return every head of the log that it cosigned, oldest first."""
        return read_history(self.folder_of(origin), self.public.name)

    def _cosigned(self, folder: Path, note: Note, found: Checkpoint) -> Note:
        now = self._clock.now()
        own = Note(note.text, tuple(each for each in note.signatures if each.name == self.log_key.name))
        cosigned = own.with_signature(self._signer.sign(note.text, now))
        remember(folder, found, cosigned, now)
        return cosigned

    def _refused(self, folder: Path, written: str, what: str) -> IntegrityError:
        """Keep what the log signed: with the checkpoint that was seen, it proves that the log forgot something."""
        name = sha256(written.encode()).hexdigest()[:16]
        write_atomic(folder / EVIDENCE / name, written.encode())
        return IntegrityError(f"{what}; the signed evidence is {folder / EVIDENCE / name}")


def read_history(folder: Path, witness: str) -> list[Anchor]:
    """Return the heads in the history that lies in `folder`; a last line that a kill cut short is left out."""
    path = folder / HISTORY
    lines = path.read_text(encoding="ascii").split("\n")[:-1] if path.exists() else []
    anchors = []
    for number, line in enumerate(lines, 1):
        try:
            size, root, at = line.split(" ")
            hashed = base64.b64decode(root, validate=True)
            anchors.append(Anchor(int(size), hashed, float(at), f"witness {witness}", is_witness=True))
        except ValueError:
            raise IntegrityError(f"{path} line {number}: damaged; restore the witness's folder from a backup") from None
    return anchors


def remember(folder: Path, seen: Checkpoint, cosigned: Note, at: float) -> None:
    """Keep in `folder` the newest checkpoint of a log, cosigned at `at`, and beside it that it was seen."""
    line = f"{seen.size} {base64.b64encode(seen.root).decode()} {at:.3f}\n"
    with (folder / HISTORY).open("a", encoding="ascii") as file:  # before the checkpoint: a kill leaves it twice
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    write_atomic(folder / CHECKPOINT, str(cosigned).encode())


def _pinned(path: Path, key: VerifierKey | None) -> VerifierKey:
    """Return the log's key: the one known, remembered on first use. Another one is refused."""
    known = VerifierKey.parse(path.read_text(encoding="utf-8")) if path.exists() else None
    if known is None and key is None:
        raise ConfigError(f"{path}: this witness knows no log yet; give it the log's verifier key")
    if known and key and (known.alone != key.alone or (known.beside and key.beside and known.beside != key.beside)):
        raise IntegrityError(
            f"{path}: this witness knows the log by the key {known.name}+{known.key_id.hex()}, "
            f"and was given {key.name}+{key.key_id.hex()}; a new key is a new log: use another folder"
        )
    if known and (known.beside or key is None or not key.beside):  # an ML-DSA key that came later is pinned as well
        return known
    assert key is not None
    write_atomic(path, f"{key}\n".encode())
    return key
