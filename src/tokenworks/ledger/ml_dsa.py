"""ML-DSA-44 (FIPS 204) as `cryptography` has it: loaded only where a ledger has such a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from tokenworks.core.errors import MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

PUBLIC_BYTES = 1312
SEED_BYTES = 32


def generate() -> MLDSA44PrivateKey:
    """Return a new key; raise `MissingExtraError` where the library has no ML-DSA."""
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

        return MLDSA44PrivateKey.generate()
    except (ImportError, UnsupportedAlgorithm):
        raise _missing() from None


def from_seed(seed: bytes) -> MLDSA44PrivateKey:
    """Return the key that grows from 32 bytes."""
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

        return MLDSA44PrivateKey.from_seed_bytes(seed)
    except (ImportError, UnsupportedAlgorithm):
        raise _missing() from None


def verify(public: bytes, value: bytes, message: bytes) -> None:
    """Raise `InvalidSignature` where `value` is not the signature of `message` by the key with this public half."""
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

        MLDSA44PublicKey.from_public_bytes(public).verify(value, message)
    except (ImportError, UnsupportedAlgorithm):
        raise _missing() from None
    except ValueError:  # a public half that is none
        raise InvalidSignature from None


def _missing() -> MissingExtraError:
    return MissingExtraError("ML-DSA signatures", "post-quantum")
