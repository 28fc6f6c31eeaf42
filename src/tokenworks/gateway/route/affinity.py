"""Which replica has likely seen the beginning of a prompt: rendezvous hashing, bounded by load."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache

from tokenworks.core.label import Label
from tokenworks.gateway.exchange import Exchange
from tokenworks.gateway.route.places import Place

PREFIX_BYTES = 512
SLACK = 1.25  # over the mean load: Mirrokni 2018, consistent hashing with bounded loads
_STARTS = (b'"messages"', b'"prompt"', b'"input"')


def cache_salt(exchange: Exchange) -> str:
    """Return what keeps prefixes apart that an engine has read: 32 hexadecimal characters of tenant and label."""
    return _whose(exchange.who.tenant, exchange.outgoing).hex()


def prefix_key(exchange: Exchange) -> bytes:
    """Return what prompts with the same beginning share, within one tenant and label only."""
    body = exchange.body
    start = max(0, min((at for name in _STARTS if (at := body.find(name)) >= 0), default=0))
    return hashlib.blake2b(
        body[start : start + PREFIX_BYTES], key=_whose(exchange.who.tenant, exchange.outgoing), digest_size=16
    ).digest()


@lru_cache(maxsize=4096)
def _whose(tenant: str, label: Label) -> bytes:
    return hashlib.blake2b(f"{tenant}\0{label}".encode(), digest_size=16).digest()


def in_turn(replicas: Sequence[Place], key: bytes) -> list[Place]:
    """Return replicas as they should be asked: who has the highest weight for `key`, the overloaded last, then by load.

    Weights are drawn by a hash of key and replica (Thaler 1998): a replica that comes or goes moves only its own keys.
    """
    most = math.ceil(SLACK * (sum(place.under_way for place in replicas) + 1) / len(replicas))
    first, *rest = sorted(replicas, key=lambda place: _weight(key, place.replica), reverse=True)
    return [first, *by_load(rest)] if first.under_way < most else by_load([*rest, first])


def by_load(places: Sequence[Place]) -> list[Place]:
    """Return `places`, those with the fewest calls under way first."""
    return sorted(places, key=lambda place: place.under_way)


def _weight(key: bytes, replica: int) -> bytes:
    return hashlib.blake2b(replica.to_bytes(4), key=key, digest_size=8).digest()
