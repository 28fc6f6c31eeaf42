"""The hash tree of RFC 6962: leaves, nodes, roots, proofs. Pure functions over bytes; knows no file and no entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()  # RFC 6962, 2.1: the hash of an empty list
LEAF, NODE = b"\x00", b"\x01"

RangeHash = Callable[[int, int], bytes]  # of the leaves from the first number up to before the second, as a tree


def leaf_hash(data: bytes) -> bytes:
    """Return the 32-byte hash of an entry. RFC 6962, 2.1."""
    return sha256(LEAF + data).digest()


def hash_leaves(data: memoryview, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return the leaf hashes of many entries that lie in `data`, each span beginning with the leaf prefix."""
    return [sha256(data[start:end]).digest() for start, end in spans]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of two subtrees. RFC 6962, 2.1."""
    return sha256(NODE + left + right).digest()


class Frontier:
    """The perfect subtrees of a growing tree, largest first: enough to append and to know the root, O(log n) small."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if len(hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, not {len(hashes)}")
        self.size = size
        self.hashes = list(hashes)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes, level by level: one node hash for each on average."""
        level, start, left_over = list(leaves), self.size, list[bytes]()
        while level:
            if start & 1:  # the last subtree of this size has waited for its right sibling
                level.insert(0, self.hashes.pop())
            if len(level) & 1:
                left_over.append(level.pop())
            level = [sha256(NODE + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=True)]
            start >>= 1
        self.hashes.extend(reversed(left_over))
        self.size += len(leaves)

    def root(self) -> bytes:
        """Return the tree's root hash."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    frontier = Frontier()
    frontier.extend(list(leaves))
    return frontier.root()


def inclusion_path(index: int, size: int, hash_of: RangeHash) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of `size`, lowest sibling first. RFC 6962, 2.1.1."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    path, start, end = list[bytes](), 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        path.append(hash_of(middle, end) if index < middle else hash_of(start, middle))
        start, end = (start, middle) if index < middle else (middle, end)
    return path[::-1]


def consistency_path(old: int, size: int, hash_of: RangeHash) -> list[bytes]:
    """Return the proof that the tree of the first `old` leaves is a prefix of that of `size`. RFC 6962, 2.1.2."""
    if not 0 < old <= size:
        raise ValueError(f"a tree of {size} has no prefix of {old} to be consistent with")
    path, start, end = list[bytes](), 0, size
    while end != old:
        middle = start + _split(end - start)
        path.append(hash_of(middle, end) if old <= middle else hash_of(start, middle))
        start, end = (start, middle) if old <= middle else (middle, end)
    if start:  # where it is 0, what is left is the old tree itself, whose root the reader has
        path.append(hash_of(start, end))
    return path[::-1]


def inclusion_proof(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the audit path of leaf `index` among `leaves`, lowest sibling first."""
    return inclusion_path(index, len(leaves), lambda start, end: root_of(leaves[start:end]))


def consistency_proof(old: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the proof that the tree of the first `old` leaves is a prefix of that of all `leaves`."""
    return consistency_path(old, len(leaves), lambda start, end: root_of(leaves[start:end]))


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether `proof` shows that `leaf` is number `index` of the tree. RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    first, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0 or len(sibling) != 32:
            return False
        if first & 1 or first == last:
            found = node_hash(sibling, found)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether `proof` shows that the old tree is a prefix of the new one. RFC 9162, 2.1.4.2."""
    if not 0 < old <= new or any(len(node) != 32 for node in proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof)
    if old & (old - 1) == 0:  # an exact power of two is its own first subtree
        path.insert(0, old_root)
    if not path:
        return False
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    found_old = found_new = path[0]
    for node in path[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            found_old, found_new = node_hash(node, found_old), node_hash(node, found_new)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            found_new = node_hash(found_new, node)
        first, last = first >> 1, last >> 1
    return last == 0 and found_old == old_root and found_new == new_root


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
