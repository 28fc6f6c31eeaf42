"""Names for things: random ids that sort by time, and hashes that name content."""

from __future__ import annotations

import hashlib
import time
from functools import lru_cache
from typing import Any

import msgspec

from tokenworks.core.entropy import random_bytes

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32: no letter that looks like another
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_LETTERS = bytes(ord(ALPHABET[byte & 31]) for byte in range(256))  # 256 is a multiple of 32: no letter is likelier
_canonical = msgspec.json.Encoder(order="deterministic")


def new_id(prefix: str) -> str:
    """Return `prefix-` + 10 characters of time + 16 random ones; ids made later sort later."""
    return f"{prefix}-{_moment(time.time_ns() // 1_000_000)}{random_bytes(16).translate(_LETTERS).decode('ascii')}"


@lru_cache(maxsize=4)
def _moment(ms: int) -> str:
    return "".join([_PAIRS[(ms >> shift) & 1023] for shift in range(40, -1, -10)])


def sha256_hex(data: bytes) -> str:
    """Return the lower-case hexadecimal SHA-256 of `data`, 64 characters."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return `value` as JSON with sorted keys and no spaces: equal values give equal bytes."""
    return _canonical.encode(value)


def content_id(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `value`."""
    return sha256_hex(canonical_json(value))


def pseudonym(tenant: str, name: str) -> str:
    """Return a stand-in for a caller's user or conversation: equal names of one tenant give equal stand-ins.

    It keeps names out of the log; it is no secret to somebody who can guess the name. Empty for an empty name.
    """
    return sha256_hex(f"{tenant}\0{name}".encode())[:16] if name else ""
