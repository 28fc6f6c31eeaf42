"""Signed notes (c2sp.org/signed-note) and the keys that sign and cosign them. Knows text, not what it says.

A note is text, an empty line, and lines of signatures. Type 1 is Ed25519 over the text, by a log; type 4 is Ed25519
over the text and a time, by a witness (c2sp.org/tlog-cosignature).
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tokenworks.core.errors import ConfigError, IntegrityError

LOG, WITNESS = 1, 4  # signature types
MAX_NOTE_BYTES = 64 << 10
_DASH = "— "
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
    """The public half of a key, by which anybody can check what it signed."""

    name: str
    kind: int  # LOG or WITNESS
    public: bytes  # 32 bytes

    @classmethod
    def parse(cls, written: str) -> Self:
        """Return the key of a line `name+id+base64`; raise `ConfigError` naming what is wrong with it."""
        name, _, rest = written.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            data = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            data = b""
        if not is_name(name) or len(data) != 33 or data[0] not in (LOG, WITNESS):
            raise ConfigError(f"verifier key {written.strip()[:80]!r}: give a line NAME+ID+BASE64 of an Ed25519 key")
        key = cls(name, data[0], data[1:])
        if key.key_id.hex() != key_id:
            raise ConfigError(f"verifier key of {name}: its id should be {key.key_id.hex()}, not {key_id[:16]!r}")
        return key

    @cached_property
    def key_id(self) -> bytes:
        """The first 4 bytes of a hash over name, type and key: a hint, not a proof."""
        return sha256(self.name.encode() + b"\n" + bytes((self.kind,)) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes((self.kind,)) + self.public).decode()}"

    def verified(self, note: Note) -> float | None:
        """Return when this key signed the note, in Unix seconds (0.0 from a log: it says no time); None if it did not.

        Raises `IntegrityError` for a signature that claims to be this key's and is not.
        """
        for signature in note.signatures:
            if (signature.name, signature.key_id) != (self.name, self.key_id):
                continue
            at, value = _unpacked(self.kind, signature.value)
            try:
                Ed25519PublicKey.from_public_bytes(self.public).verify(value, _message(self.kind, at, note.text))
            except InvalidSignature:
                raise IntegrityError(f"signed note: the signature of {self.name} does not fit the text") from None
            return float(at)
        return None


@dataclass(frozen=True)
class SignerKey:
    """Both halves. Whoever has it can sign in its name."""

    name: str
    kind: int
    private: Ed25519PrivateKey

    @classmethod
    def make(cls, name: str, kind: int) -> Self:
        """Return a new key."""
        if not is_name(name):
            raise ConfigError(f"key name {name!r}: give one without spaces and plus signs")
        return cls(name, kind, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, written: str) -> Self:
        """Return the key of a line `PRIVATE+KEY+name+id+base64`; raise `IntegrityError` where it is none."""
        public = written.strip().removeprefix(f"{_SECRET}+")
        name, _, rest = public.partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            data = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            data = b""
        if not written.startswith(_SECRET) or len(data) != 33 or data[0] not in (LOG, WITNESS):
            raise IntegrityError("not a secret Ed25519 key of a signed note")
        key = cls(name, data[0], Ed25519PrivateKey.from_private_bytes(data[1:]))
        if key.public.key_id.hex() != key_id:
            raise IntegrityError(f"the secret key of {name} is damaged: its id does not fit")
        return key

    @cached_property
    def public(self) -> VerifierKey:
        """The half to give away."""
        return VerifierKey(self.name, self.kind, self.private.public_key().public_bytes_raw())

    def secret(self) -> str:
        """Return the line to keep."""
        data = base64.b64encode(bytes((self.kind,)) + self.private.private_bytes_raw()).decode()
        return f"{_SECRET}+{self.name}+{self.public.key_id.hex()}+{data}\n"

    def sign(self, text: str, at: float = 0.0) -> Signature:
        """Return the signature over `text`, which ends in a newline; a witness says that it saw it at `at`."""
        value = self.private.sign(_message(self.kind, int(at), text))
        head = _TIME.pack(int(at)) if self.kind == WITNESS else b""
        return Signature(self.name, self.public.key_id, head + value)


def is_name(name: str) -> bool:
    """Return whether a key, or a log, may be called that."""
    return bool(name) and not any(sign.isspace() or sign == "+" or ord(sign) < 32 for sign in name)


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
