"""Prompts of different callers made different for a cache that finds prefixes again by their token ids.

An id is an integer of 31 bits, and a vocabulary takes 10 to 18 of them. The rest carry a salt, which the graph takes
off before it looks an id up: the same answer, and no block of keys and values in common with another salt.
"""

from __future__ import annotations

import hashlib

from tokenworks.serving.conversion.llama import id_bits

ID_BITS = 31  # the CPU plugin computes with 32, signed
SALTED = 8  # tokens from the first: 13 bits each, of a vocabulary of 150,000, make two salts the same in 2^104


def salted(ids: list[int], salt: str, vocabulary: int) -> list[int]:
    """Return `ids` as GenAI is given them; without a salt, as they are.

    A block's hash goes over all blocks before it (vLLM's cache_salt rests on the same), so the first ids suffice.
    """
    if not salt:
        return ids
    bits = id_bits(vocabulary)
    rest = int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=32).digest()) | 1  # never no salt at all
    mixed = []
    for place, token in enumerate(ids[:SALTED]):
        mixed.append(token | (rest >> (place * (ID_BITS - bits))) % (1 << (ID_BITS - bits)) << bits)
    return mixed + ids[SALTED:]
