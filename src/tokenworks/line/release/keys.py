"""The factory's own signing key: EC P-256 in PEM, made once, private to the user that runs the factory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tokenworks.core.errors import IntegrityError, NotFoundError, RefusedError
from tokenworks.core.files import locked, require_private, write_atomic

PRIVATE = "signing.pem"
PUBLIC = "signing.pub.pem"
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}


@dataclass(frozen=True)
class PublicKey:
    """The half that everybody may have: it says whether a signature was made with the other half."""

    pem: bytes

    @classmethod
    def read(cls, path: Path) -> PublicKey:
        """Return the PEM public key in the file; raise `NotFoundError` or `IntegrityError` naming the way out."""
        if not path.exists():
            raise NotFoundError(f"{path}: no public key there; a home makes its own on the first start")
        key = cls(path.read_bytes())
        _ = key._loaded, key.key_id
        return key

    @cached_property
    def _loaded(self) -> ec.EllipticCurvePublicKey:
        try:
            key = serialization.load_pem_public_key(self.pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise IntegrityError(f"public key: not a PEM public key ({error}); restore it from a copy") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
            raise RefusedError("public key: model signatures use EC keys on P-256, P-384 or P-521; give one of those")
        return key

    @cached_property
    def key_id(self) -> str:
        """The SHA-256 of the PEM bytes: how a bundle hints at its key."""
        return hashlib.sha256(_public_pem(self._loaded)).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether `signature` (DER) over `message` was made with the private half."""
        try:
            self._loaded.verify(signature, message, ec.ECDSA(_HASHES[self._loaded.curve.name]()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """The half that stays in the home."""

    private: ec.EllipticCurvePrivateKey

    @cached_property
    def public(self) -> PublicKey:
        """The half to give away."""
        return PublicKey(_public_pem(self.private.public_key()))

    def sign(self, message: bytes) -> bytes:
        """Return the DER signature over `message`; the same message gives the same bytes.

        Deterministic nonces (RFC 6979): a sealing that is killed and run again ends in the same folder hash.
        """
        algorithm = _HASHES[self.private.curve.name]()
        return self.private.sign(message, ec.ECDSA(algorithm, deterministic_signing=True))


def ensure_signing_key(home: Path) -> SigningKey:
    """Return the key of `home`, made there on the first call (`keys/signing.pem`, mode 0600; public half beside).

    Raises `RefusedError` where others may read it and `IntegrityError` where it cannot be read at all.
    """
    folder = home / "keys"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / PRIVATE
    with locked(folder / ".lock"):
        if not path.exists():
            write_atomic(path, _private_pem(ec.generate_private_key(ec.SECP256R1())), mode=0o600)
        key = _read_private(path)
        # Written from the private half each time it is missing: a kill between the two writes heals itself.
        if not (folder / PUBLIC).exists():
            write_atomic(folder / PUBLIC, key.public.pem)
    return key


def _read_private(path: Path) -> SigningKey:
    require_private(path, "signing key")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IntegrityError(
            f"{path}: not a readable PEM private key ({error}); restore it from a copy, or move it away: "
            "a new one is made and models must be sealed again"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
        raise RefusedError(f"{path}: model signatures use EC keys on P-256, P-384 or P-521; put one of those there")
    return SigningKey(key)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
