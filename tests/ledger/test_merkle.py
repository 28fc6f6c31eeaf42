"""The hash tree against the published vectors of the transparency community, and against its own definition."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.ledger import merkle

# RFC 6962 reference entries and roots, as in the certificate-transparency test vectors.
ENTRIES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
}


def _vectors(data_folder: Path, kind: str) -> list[tuple[str, dict[str, Any]]]:
    folder = data_folder / "security-cases" / "merkle-rfc6962" / kind
    if not folder.is_dir():
        pytest.skip(f"no vectors at {folder}")
    return [(path.name, json.loads(path.read_text())) for path in sorted(folder.rglob("*.json"))]


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def test_roots_are_those_of_the_rfc() -> None:
    for size, root in ROOTS.items():
        assert merkle.root_of([merkle.leaf_hash(entry) for entry in ENTRIES[:size]]).hex() == root


def test_every_published_inclusion_vector_is_judged_right(data_folder: Path) -> None:
    vectors = _vectors(data_folder, "inclusion")
    assert len(vectors) > 50
    for name, case in vectors:
        proof = [_bytes(node) for node in case["proof"] or ()]
        judged = merkle.verify_inclusion(
            case["leafIdx"], case["treeSize"], _bytes(case["leafHash"]), proof, _bytes(case["root"])
        )
        assert judged is not case["wantErr"], (name, case["desc"])


def test_every_published_consistency_vector_is_judged_right(data_folder: Path) -> None:
    vectors = _vectors(data_folder, "consistency")
    assert len(vectors) > 50
    for name, case in vectors:
        proof = [_bytes(node) for node in case["proof"] or ()]
        judged = merkle.verify_consistency(
            case["size1"], case["size2"], _bytes(case["root1"]), _bytes(case["root2"]), proof
        )
        assert judged is not case["wantErr"], (name, case["desc"])


def _naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(_naive_root(leaves[:split]), _naive_root(leaves[split:]))


def _leaves(count: int) -> list[bytes]:
    return [merkle.leaf_hash(b"%d" % number) for number in range(count)]


@given(first=st.integers(0, 600), second=st.integers(0, 1100))
def test_growing_in_any_steps_gives_the_root_of_the_definition(first: int, second: int) -> None:
    leaves = _leaves(first + second)
    frontier = merkle.Frontier()
    frontier.extend(leaves[:first])
    resumed = merkle.Frontier(frontier.size, frontier.hashes)
    resumed.extend(leaves[first:])
    assert resumed.size == len(leaves)
    assert resumed.root() == _naive_root(leaves)


@given(size=st.integers(1, 70), data=st.data())
def test_a_proof_of_inclusion_holds_for_its_leaf_only(size: int, data: st.DataObject) -> None:
    leaves = _leaves(size)
    index = data.draw(st.integers(0, size - 1))
    root, proof = merkle.root_of(leaves), merkle.inclusion_proof(index, leaves)
    assert merkle.verify_inclusion(index, size, leaves[index], proof, root)
    assert not merkle.verify_inclusion(index, size, merkle.leaf_hash(b"other"), proof, root)
    assert not merkle.verify_inclusion(index, size, leaves[index], [*proof, root], root)


@given(size=st.integers(1, 70), data=st.data())
def test_a_proof_of_consistency_holds_for_its_prefix_only(size: int, data: st.DataObject) -> None:
    leaves = _leaves(size)
    old = data.draw(st.integers(1, size))
    proof = merkle.consistency_proof(old, leaves)
    old_root, root = merkle.root_of(leaves[:old]), merkle.root_of(leaves)
    assert merkle.verify_consistency(old, size, old_root, root, proof)
    assert not merkle.verify_consistency(old, size, merkle.leaf_hash(b"other"), root, proof)
    assert not merkle.verify_consistency(old, size, old_root, merkle.leaf_hash(b"other"), proof)


def test_proofs_of_what_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="no leaf 3"):
        merkle.inclusion_proof(3, _leaves(3))
    with pytest.raises(ValueError, match="no prefix of 4"):
        merkle.consistency_proof(4, _leaves(3))
    with pytest.raises(ValueError, match="perfect subtrees"):
        merkle.Frontier(3, [merkle.EMPTY_ROOT])
