"""The tamper matrix: found and located by our own verifier, and by the one that stands alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.tampering import (
    SMALL,
    Scene,
    change,
    delete,
    flip,
    insert,
    remove,
    reorder,
    rewrite,
    rewrite_with_key,
    roll_back,
    stand_alone,
    truncate,
)
from tokenworks.ledger.note import LOG, SignerKey
from tokenworks.ledger.verify import Problem, verify
from tokenworks.ledger.watch import look, remembered
from tokenworks.ledger.witness import Witness
from tokenworks.ledger.writer import Ledger

KEY = SignerKey.make("example.com/ledger", LOG)
Tamper = Callable[[Scene], None]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 entries in several segments; a witness that saw it after every 10."""
    from tokenworks.ledger.entries import RequestEntry

    folder = tmp_path_factory.mktemp("scene")
    witness = Witness(folder / "witness", KEY.public, name="example.org/witness")
    for ten in range(0, 60, 10):
        with Ledger(folder / "ledger", "gateway", segment_bytes=SMALL, key=KEY) as ledger:
            for number in range(ten, ten + 10):
                ledger.append(
                    RequestEntry(
                        at=1000.0 + number,
                        request_id=f"req-{number}",
                        endpoint="chat.completions",
                        outcome="ok",
                        status=200,
                        salt=f"{number:064x}",
                    )
                )
        assert look(folder / "ledger", folder / "witness", witness).cosigned == ("gateway",)
        if ten == 20:
            shutil.copytree(folder / "ledger", folder / "early")
    return folder


@pytest.fixture
def scene(untouched: Path, tmp_path: Path) -> Scene:
    shutil.copytree(untouched, tmp_path, dirs_exist_ok=True)
    return Scene(tmp_path / "ledger", KEY, tmp_path / "witness", tmp_path / "early")


def _alone(scene: Scene, *witnesses: Path, key: SignerKey = KEY) -> subprocess.CompletedProcess[str]:
    return stand_alone("check_ledger.py", scene.log, str(key.public), *witnesses)


def _ours(scene: Scene, *witnesses: Path) -> tuple[Problem, ...]:
    return verify(scene.root, key=KEY.public, witnessed=remembered(witnesses)).problems


def test_what_nobody_touched_passes_both(scene: Scene) -> None:
    found = verify(scene.root, key=KEY.public, witnessed=remembered([scene.witness]))
    assert (found.problems, found.signed, found.witnessed) == ((), {"gateway": 60}, {"gateway": 60})
    alone = _alone(scene, scene.witness)
    assert alone.returncode == 0, alone.stderr
    assert f"60 entries of example.com/ledger/gateway: all verified, root {found.roots['gateway']}" in alone.stdout


# Who, what our own verifier says of the entries concerned, what the one that stands alone says.
# The witness looked after every ten entries: so narrow is the place where a forger mended the checksums.
LOCATED: dict[str, tuple[Tamper, str, str]] = {
    "flip": (flip, "entry 5: damaged", "entry 5"),
    "delete": (delete, "the entries 0 to 9 ", "the entries 0 to 9"),
    "insert": (insert, "the entries 0 to 9 ", "the entries 0 to 9"),
    "reorder": (reorder, "the entries 0 to 9 ", "the entries 0 to 9"),
    "change": (change, "the entries 0 to 9 ", "the entries 0 to 9"),
    "truncate": (truncate, "1 entries at the end are missing", "missing: the entries 59 to 59"),
    "rewrite with the key": (rewrite_with_key, "the entries 0 to 9 ", "the entries 0 to 9"),
    "roll back": (roll_back, "30 entries at the end are missing", "missing: the entries 30 to 59"),
}


@pytest.mark.parametrize("tampering", LOCATED)
def test_tampering_is_found_and_located_by_both_verifiers(scene: Scene, tampering: str) -> None:
    tamper, ours, alone = LOCATED[tampering]
    tamper(scene)
    assert any(ours in str(problem) for problem in _ours(scene, scene.witness)), _ours(scene, scene.witness)
    told = _alone(scene, scene.witness)
    assert told.returncode == 1
    assert alone in told.stderr


@pytest.mark.parametrize("tampering", ["flip", "delete", "insert", "reorder", "change", "truncate"])
def test_whoever_lacks_the_key_is_found_without_a_witness(scene: Scene, tampering: str) -> None:
    LOCATED[tampering][0](scene)
    assert _ours(scene)
    assert _alone(scene).returncode == 1


def test_heads_rewritten_without_the_key_are_found_by_their_signature(scene: Scene) -> None:
    rewrite(scene)
    assert any("is not that of this head" in problem.what for problem in _ours(scene))
    told = _alone(scene)
    assert told.returncode == 1
    assert "the entries 0 to" in told.stderr


def test_a_log_that_is_gone_is_missed_by_its_witness(scene: Scene) -> None:
    remove(scene)
    assert any("60 entries at the end are missing" in problem.what for problem in _ours(scene, scene.witness))
    assert _alone(scene, scene.witness).returncode == 1


def test_only_a_witness_sees_what_the_holder_of_the_key_did(scene: Scene) -> None:
    """What the limits of a signature are: the reason why there are witnesses."""
    rewrite_with_key(scene)
    assert _ours(scene) == ()
    assert _alone(scene).returncode == 0
    assert _ours(scene, scene.witness)


def test_a_log_that_was_rolled_back_and_went_on_is_a_fork(scene: Scene) -> None:
    from tokenworks.ledger.entries import RequestEntry

    roll_back(scene)
    with Ledger(scene.root, "gateway", segment_bytes=SMALL, key=KEY) as ledger:
        for number in range(30, 70):
            ledger.append(
                RequestEntry(
                    at=9.0, request_id=f"other-{number}", endpoint="e", outcome="ok", status=200, salt="f" * 90
                )
            )
    assert _ours(scene) == ()
    assert any("the entries 30 to 39 " in str(problem) for problem in _ours(scene, scene.witness))
    assert "the entries 30 to 39" in _alone(scene, scene.witness).stderr


def test_with_the_key_of_another_ledger_nothing_passes(scene: Scene) -> None:
    stranger = SignerKey.make("example.com/other", LOG)
    assert verify(scene.root, key=stranger.public).problems
    assert "not signed by example.com/other" in _alone(scene, key=stranger).stderr
