"""Signed notes (c2sp.org/signed-note) and the keys that sign and cosign them. Knows text, not what it says.

A note is text, an empty line, and lines of signatures. Type 1 is Ed25519 over the text, by a log; type 4 is Ed25519
over the text and a time, by a witness (c2sp.org/tlog-cosignature). ML-DSA-44 over the text has no type of its own: it
stands under 255, which a name of the algorithm follows.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tokenworks.core.errors import ConfigError, IntegrityError
from tokenworks.ledger import ml_dsa

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

LOG, WITNESS, POST_QUANTUM = 1, 4, 0xFF  # signature types
MAX_NOTE_BYTES = 64 << 10
_DASH = "— "
_MARKS = {LOG: b"\x01", WITNESS: b"\x04", POST_QUANTUM: b"\xffML-DSA-44"}  # what stands before a key's bytes
_ED25519_BYTES = 32
_TIME = struct.Struct(">Q")
_SECRET = "PRIVATE+KEY"  # how golang.org/x/mod/sumdb/note marks the secret half


@dataclass(frozen=True)
class Signature:
    """One line below a note."""

    name: str
    key_id: bytes  # 4 bytes
    value: bytes

    @property
    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A text and who signed it. Nothing in it is to be believed before a known key has verified it."""

    text: str  # ends in a newline
    signatures: tuple[Signature, ...] = ()

    @classmethod
    def parse(cls, written: str) -> Self:
        """Return the note; raise `IntegrityError` where it is none."""
        text, gap, below = written.rpartition("\n\n")
        lines = below.split("\n")
        wrong = len(written.encode(errors="replace")) > MAX_NOTE_BYTES or any(
            ord(sign) < 32 and sign != "\n" for sign in written
        )
        if wrong or not gap or not text or lines.pop() or not lines:
            raise IntegrityError("signed note: not a text, an empty line and lines of signatures")
        return cls(text + "\n", tuple(_signature(line) for line in lines))

    def with_signature(self, signature: Signature) -> Note:
        """Return the note with one more signature."""
        return Note(self.text, (*self.signatures, signature))

    def __str__(self) -> str:
        return self.text + "\n" + "".join(signature.line for signature in self.signatures)


@dataclass(frozen=True)
class VerifierKey:
    """The public half of a key, by which anybody can check what it signed; with `beside`, both must have."""

    name: str
    kind: int  # LOG, WITNESS or POST_QUANTUM
    public: bytes  # 32 bytes, of ML-DSA 1312
    beside: VerifierKey | None = None

    @classmethod
    def parse(cls, written: str) -> Self:
        """Return the key of a line `name+id+base64`, or of two; raise `ConfigError` naming what is wrong with it."""
        first, *more = [cls._parse(line) for line in written.split() or [""]]
        if not more:
            return first
        if len(more) > 1 or (first.kind, more[0].kind, more[0].name) != (LOG, POST_QUANTUM, first.name):
            raise ConfigError(
                f"verifier key of {first.name}: a second line is the ML-DSA key of the same log, no other"
            )
        return replace(first, beside=more[0])

    @classmethod
    def _parse(cls, line: str) -> Self:
        name, _, rest = line.partition("+")
        key_id, _, encoded = rest.partition("+")
        kind, public = _unmarked(encoded, ml_dsa_bytes=ml_dsa.PUBLIC_BYTES)
        if not is_name(name) or not kind:
            raise ConfigError(f"verifier key {line[:80]!r}: give a line NAME+ID+BASE64 of an Ed25519 key")
        key = cls(name, kind, public)
        if key.key_id.hex() != key_id:
            raise ConfigError(f"verifier key of {name}: its id should be {key.key_id.hex()}, not {key_id[:16]!r}")
        return key

    @property
    def alone(self) -> VerifierKey:
        """The first key without the one beside it."""
        return replace(self, beside=None)

    @property
    def algorithms(self) -> str:
        """By what it is checked, in words."""
        return "Ed25519 and ML-DSA-44" if self.beside else "Ed25519"

    @cached_property
    def key_id(self) -> bytes:
        """The first 4 bytes of a hash over name, type and key: a hint, not a proof."""
        return sha256(self.name.encode() + b"\n" + _MARKS[self.kind] + self.public).digest()[:4]

    def __str__(self) -> str:
        line = f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_MARKS[self.kind] + self.public).decode()}"
        return f"{line}\n{self.beside}" if self.beside else line

    def verified(self, note: Note) -> float | None:
        """Return when this key signed the note, in Unix seconds (0.0 from a log: it says no time); None if it did not.

        Raises `IntegrityError` for a signature that claims to be this key's and is not, and where there is a key beside
        it that did not sign as well.
        """
        at = self._verified(note)
        if at is not None and self.beside is not None and self.beside._verified(note) is None:
            raise IntegrityError(
                f"signed note: {self.name} signed with Ed25519 and not with ML-DSA; where it is older than the ML-DSA "
                "key, give the first line of the verifier key alone"
            )
        return at

    def signed(self, note: Note) -> bool:
        """Return whether a line of the note claims to be by this very key."""
        return any((one.name, one.key_id) == (self.name, self.key_id) for one in note.signatures)

    def _verified(self, note: Note) -> float | None:
        for signature in note.signatures:
            if (signature.name, signature.key_id) != (self.name, self.key_id):
                continue
            at, value = _unpacked(self.kind, signature.value)
            try:
                _verify(self.kind, self.public, value, _message(self.kind, at, note.text))
            except InvalidSignature:
                raise IntegrityError(f"signed note: the signature of {self.name} does not fit the text") from None
            return float(at)
        return None


@dataclass(frozen=True)
class SignerKey:
    """Both halves. Whoever has it can sign in its name."""

    name: str
    kind: int
    private: Ed25519PrivateKey | MLDSA44PrivateKey
    beside: SignerKey | None = None  # signs everything that this one signs for a log

    @classmethod
    def make(cls, name: str, kind: int) -> Self:
        """Return a new key."""
        if not is_name(name):
            raise ConfigError(f"key name {name!r}: give one without spaces and plus signs")
        return cls(name, kind, ml_dsa.generate() if kind == POST_QUANTUM else Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, written: str) -> Self:
        """Return the key of a line `PRIVATE+KEY+name+id+base64`; raise `IntegrityError` where it is none."""
        public = written.strip().removeprefix(f"{_SECRET}+")
        name, _, rest = public.partition("+")
        key_id, _, encoded = rest.partition("+")
        kind, seed = _unmarked(encoded, ml_dsa_bytes=ml_dsa.SEED_BYTES)
        if not written.startswith(_SECRET) or not kind:
            raise IntegrityError("not a secret Ed25519 key of a signed note")
        made = ml_dsa.from_seed(seed) if kind == POST_QUANTUM else Ed25519PrivateKey.from_private_bytes(seed)
        key = cls(name, kind, made)
        if key.public.key_id.hex() != key_id:
            raise IntegrityError(f"the secret key of {name} is damaged: its id does not fit")
        return key

    @cached_property
    def public(self) -> VerifierKey:
        """The half to give away."""
        beside = self.beside.public if self.beside else None
        return VerifierKey(self.name, self.kind, self.private.public_key().public_bytes_raw(), beside)

    def secret(self) -> str:
        """Return the line to keep, without the key beside it."""
        data = base64.b64encode(_MARKS[self.kind] + self.private.private_bytes_raw()).decode()
        return f"{_SECRET}+{self.name}+{self.public.key_id.hex()}+{data}\n"

    def sign(self, text: str, at: float = 0.0) -> Signature:
        """Return the signature over `text`, which ends in a newline; a witness says that it saw it at `at`."""
        value = self.private.sign(_message(self.kind, int(at), text))
        head = _TIME.pack(int(at)) if self.kind == WITNESS else b""
        return Signature(self.name, self.public.key_id, head + value)

    def signatures(self, text: str) -> tuple[Signature, ...]:
        """Return the signature over `text`, and that of the key beside it."""
        return (self.sign(text), *(self.beside.signatures(text) if self.beside else ()))


def is_name(name: str) -> bool:
    """Return whether a key, or a log, may be called that."""
    return bool(name) and not any(sign.isspace() or sign == "+" or ord(sign) < 32 for sign in name)


def _unmarked(encoded: str, *, ml_dsa_bytes: int) -> tuple[int, bytes]:
    """Return type and bytes of a key in base64; type 0 where it is none."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return 0, b""
    for kind, mark in _MARKS.items():
        size = ml_dsa_bytes if kind == POST_QUANTUM else _ED25519_BYTES
        if data.startswith(mark) and len(data) == len(mark) + size:
            return kind, data[len(mark) :]
    return 0, b""


def _verify(kind: int, public: bytes, value: bytes, message: bytes) -> None:
    if kind == POST_QUANTUM:
        ml_dsa.verify(public, value, message)
    else:
        Ed25519PublicKey.from_public_bytes(public).verify(value, message)


def _message(kind: int, at: int, text: str) -> bytes:
    return (f"cosignature/v1\ntime {at}\n{text}" if kind == WITNESS else text).encode()


def _unpacked(kind: int, value: bytes) -> tuple[int, bytes]:
    if kind != WITNESS or len(value) < _TIME.size:
        return 0, value
    return _TIME.unpack(value[: _TIME.size])[0], value[_TIME.size :]


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not line.startswith(_DASH) or not is_name(name) or len(data) < 5:
        raise IntegrityError(f"signed note: {line[:80]!r} is no signature")
    return Signature(name, data[:4], data[4:])
