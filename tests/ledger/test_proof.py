"""Proofs: of one entry, of growth, from the view of the tree; checked by us and by the verifier that stands alone."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.tampering import SMALL, Scene, change, stand_alone
from tokenworks.core.errors import ConfigError, IntegrityError, NotFoundError
from tokenworks.ledger import heads, segment
from tokenworks.ledger.checkpoint import Checkpoint, open_checkpoint
from tokenworks.ledger.finding import place_of
from tokenworks.ledger.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of
from tokenworks.ledger.note import LOG, WITNESS, Note, SignerKey
from tokenworks.ledger.proof import check_entry, check_growth, prove_entry, prove_growth
from tokenworks.ledger.proving import entry_proof, growth_proof
from tokenworks.ledger.tiles import Tiles
from tokenworks.ledger.writer import Ledger

KEY = SignerKey.make("example.com/ledger", LOG)
WITNESS_KEY = SignerKey.make("example.org/witness", WITNESS)
MANY = 700  # more than two tiles, so that there are two levels


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenworks.ledger.entries import RequestEntry

    folder = tmp_path_factory.mktemp("ledger")
    with Ledger(folder, "gateway", segment_bytes=1 << 15, key=KEY) as ledger:
        done = [
            ledger.submit(RequestEntry(at=1.0 * n, request_id=f"req-{n:04d}", endpoint="e", outcome="ok", status=200))
            for n in range(MANY)
        ]
        assert [each.result().index for each in done] == list(range(MANY))
    return folder


def _checkpoint(root: Path) -> str:
    return heads.read_head(root / "gateway" / heads.LATEST).checkpoint


@functools.cache
def _leaves(root: Path) -> list[bytes]:
    tiles = Tiles(root / "gateway", root / "some-view")
    tiles.reach(MANY)
    return [tiles.hash_of(n, n + 1) for n in range(MANY)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_view_gives_the_proofs_of_the_whole_tree(root: Path, tmp_path: Path, data: st.DataObject) -> None:
    leaves, tiles = _leaves(root), Tiles(root / "gateway", tmp_path / "view")
    size = data.draw(st.integers(1, MANY))
    tiles.reach(size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert tiles.root(size) == root_of(leaves[:size])
    assert tiles.inclusion(index, size) == inclusion_proof(index, leaves[:size])
    assert tiles.consistency(old, size) == consistency_proof(old, leaves[:size])


@pytest.mark.parametrize("index", [0, 1, 255, 256, 511, MANY - 1])
def test_a_proof_is_checked_by_us_and_by_the_script_alone(root: Path, tmp_path: Path, index: int) -> None:
    proof = entry_proof(root, tmp_path / "view", f"gateway:{index}")
    shown = check_entry(proof, KEY.public)
    assert (shown.index, shown.size, shown.origin) == (index, MANY, "example.com/ledger/gateway")
    assert shown.entry["request_id"] == f"req-{index:04d}"
    (tmp_path / "proof").write_text(proof)
    told = stand_alone("check_proof.py", tmp_path / "proof", KEY.public)
    assert told.returncode == 0, told.stderr
    assert f"req-{index:04d}" in told.stdout


def test_an_entry_is_found_by_the_id_of_its_request(root: Path, tmp_path: Path) -> None:
    assert place_of(root, "req-0321").index == 321
    with pytest.raises(NotFoundError, match="nothing is called"):
        place_of(root, "req-9999")
    with pytest.raises(NotFoundError, match="no writer 'nobody'"):
        place_of(root, "nobody:3")
    with pytest.raises(ConfigError):
        place_of(root, "")
    with pytest.raises(IntegrityError, match=f"not below the checkpoint of {MANY}"):
        entry_proof(root, tmp_path / "view", f"gateway:{MANY}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_changed_byte_of_a_proof_passes(root: Path, tmp_path: Path, data: st.DataObject) -> None:
    proof = entry_proof(root, tmp_path / "view", "gateway:300")
    spot = data.draw(st.integers(0, len(proof) - 1))
    sign = data.draw(st.characters(codec="ascii"))
    changed = proof[:spot] + sign + proof[spot + 1 :]
    try:
        assert check_entry(changed, KEY.public) == check_entry(proof, KEY.public)  # e.g. spare bits of base64
    except IntegrityError:
        return


@pytest.mark.parametrize("wound", ["entry", "index", "path", "root", "signature", "key"])
def test_the_script_alone_refuses_what_does_not_fit(root: Path, tmp_path: Path, wound: str) -> None:
    lines = entry_proof(root, tmp_path / "view", "gateway:300").split("\n")
    key = KEY.public
    place = {"entry": 1, "index": 2, "path": 5, "root": lines.index("") + 3, "signature": len(lines) - 2}.get(wound)
    if wound == "key":
        key = SignerKey.make("example.com/ledger", LOG).public
    elif wound == "index":
        lines[2] = "index 301"
    elif place is not None:
        lines[place] = lines[place][:-20] + ("A" if lines[place][-20] != "A" else "B") + lines[place][-19:]
    (tmp_path / "proof").write_text("\n".join(lines))
    assert stand_alone("check_proof.py", tmp_path / "proof", key).returncode == 1
    with pytest.raises(IntegrityError):
        check_entry("\n".join(lines), key)


def test_a_cosigned_proof_says_when_and_by_whom(root: Path, tmp_path: Path) -> None:
    checkpoint = Note.parse(_checkpoint(root))
    cosigned = str(checkpoint.with_signature(WITNESS_KEY.sign(checkpoint.text, 77.0)))
    proof = prove_entry(Tiles(root / "gateway", tmp_path / "view"), 7, cosigned)
    assert check_entry(proof, KEY.public, [WITNESS_KEY.public]).cosigned == {"example.org/witness": 77.0}
    (tmp_path / "proof").write_text(proof)
    assert stand_alone("check_proof.py", tmp_path / "proof", KEY.public, WITNESS_KEY.public).returncode == 0
    alone = prove_entry(Tiles(root / "gateway", tmp_path / "view"), 7, str(checkpoint))
    (tmp_path / "proof").write_text(alone)
    assert stand_alone("check_proof.py", tmp_path / "proof", KEY.public, WITNESS_KEY.public).returncode == 1
    with pytest.raises(IntegrityError, match=r"not cosigned by example\.org/witness"):
        check_entry(alone, KEY.public, [WITNESS_KEY.public])


def test_growth_is_proven_from_an_older_checkpoint(root: Path, tmp_path: Path) -> None:
    tiles = Tiles(root / "gateway", tmp_path / "view")
    tiles.reach(MANY)
    old = Checkpoint("example.com/ledger/gateway", 333, tiles.root(333))
    (tmp_path / "old").write_text(str(old.signed(KEY)))
    proof = growth_proof(root, tmp_path / "view", "gateway", tmp_path / "old")
    assert check_growth(proof, old, KEY.public).size == MANY
    other = Checkpoint(old.origin, 333, leaf_hash(b"another history"))
    with pytest.raises(IntegrityError, match="the first 333 of its 700 entries are not those"):
        check_growth(proof, other, KEY.public)
    with pytest.raises(IntegrityError, match="rolled back"):
        prove_growth(tiles, MANY + 1, _checkpoint(root))


def test_a_view_that_a_kill_or_a_bad_disk_left_wrong_is_made_again(root: Path, tmp_path: Path) -> None:
    expected = entry_proof(root, tmp_path / "view", "gateway:5")
    for name, size in (("0", 1000), ("places", 77), ("1", 3), ("0", 0)):
        with (tmp_path / "view" / "gateway" / name).open("r+b") as file:
            file.truncate(size)
        assert entry_proof(root, tmp_path / "view", "gateway:5") == expected
    for name in ("0", "1", "places"):
        path = tmp_path / "view" / "gateway" / name
        path.write_bytes(bytes(path.stat().st_size))
        assert entry_proof(root, tmp_path / "view", "gateway:5") == expected


def test_no_proof_is_given_of_a_log_that_was_changed(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway", segment_bytes=SMALL, key=KEY) as ledger:
        for number in range(20):
            ledger.append(entry(number))
    change(Scene(tmp_path, KEY, tmp_path, tmp_path))
    with pytest.raises(IntegrityError, match="not those that the checkpoint was made of"):
        entry_proof(tmp_path, tmp_path / "view", "gateway:1")


def test_the_view_follows_a_log_that_grows(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path / "ledger", "gateway", segment_bytes=SMALL, key=KEY) as ledger:
        for number in range(60):
            ledger.append(entry(number))
            if number % 7 == 0:
                tiles = Tiles(tmp_path / "ledger" / "gateway", tmp_path / "view")
                tiles.reach(number + 1)
                assert leaf_hash(tiles.payload(number)) == tiles.hash_of(number, number + 1)
    assert len(segment.segments(tmp_path / "ledger" / "gateway")) > 2
    tiles.fit(60, open_checkpoint(_checkpoint(tmp_path / "ledger"), KEY.public)[1].root)
