"""A witness: it cosigns growth, remembers, refuses to forget, and survives a kill."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ledger.tampering import SMALL
from tokenworks.core.errors import ConfigError, IntegrityError
from tokenworks.ledger import heads
from tokenworks.ledger.checkpoint import Checkpoint
from tokenworks.ledger.note import LOG, SignerKey
from tokenworks.ledger.watch import look, remembered
from tokenworks.ledger.witness import StaleError, Witness
from tokenworks.ledger.writer import Ledger

KEY = SignerKey.make("example.com/ledger", LOG)
ORIGIN = "example.com/ledger/gateway"


def _grow(root: Path, entry, first: int, last: int) -> None:
    with Ledger(root, "gateway", segment_bytes=SMALL, key=KEY) as ledger:
        for number in range(first, last):
            ledger.append(entry(number))


def _witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path / "witness", KEY.public, name="example.org/witness")


def test_it_cosigns_what_grew_and_remembers_over_a_restart(tmp_path: Path, entry) -> None:
    for last in (3, 40, 41):
        _grow(tmp_path / "ledger", entry, 0 if last == 3 else 3, last)
        witness = _witness(tmp_path)
        seen = look(tmp_path / "ledger", tmp_path / "witness", witness)
        assert (seen.cosigned, seen.problems) == (("gateway",), ())
        newest = witness.last(ORIGIN)
        assert newest is not None
        assert newest.checkpoint.size == seen.sizes["gateway"]
        assert KEY.public.verified(newest.note) == 0.0
        assert witness.public.verified(newest.note) is not None
    assert look(tmp_path / "ledger", tmp_path / "witness", _witness(tmp_path)).cosigned == ()
    assert [anchor.size for anchor in remembered([tmp_path / "witness"])["gateway"]] == [3, 40, 78]


def test_a_roll_back_is_refused_located_and_kept_as_evidence(tmp_path: Path, entry) -> None:
    _grow(tmp_path / "ledger", entry, 0, 20)
    shutil.copytree(tmp_path / "ledger", tmp_path / "backup")
    _grow(tmp_path / "ledger", entry, 20, 50)
    witness = _witness(tmp_path)
    assert look(tmp_path / "ledger", tmp_path / "witness", witness).ok
    shutil.rmtree(tmp_path / "ledger")
    shutil.copytree(tmp_path / "backup", tmp_path / "ledger")
    for _ in range(2):  # it does not get used to it
        problems = look(tmp_path / "ledger", tmp_path / "witness", witness).problems
        assert "20 entries where 50 were seen: rolled back" in problems[0].what
        assert [(problem.index, problem.end) for problem in problems[1:]] == [(20, 50)]
    (kept,) = (witness.folder_of(ORIGIN) / "evidence").iterdir()
    assert kept.read_text() == heads.read_head(tmp_path / "backup" / "gateway" / heads.LATEST).checkpoint
    assert witness.last(ORIGIN).checkpoint.size == 50


def test_a_fork_is_refused_located_and_kept_as_evidence(tmp_path: Path, entry) -> None:
    _grow(tmp_path / "ledger", entry, 0, 20)
    witness = _witness(tmp_path)
    assert look(tmp_path / "ledger", tmp_path / "witness", witness).ok
    shutil.copytree(tmp_path / "ledger", tmp_path / "other")
    _grow(tmp_path / "ledger", entry, 20, 30)
    assert look(tmp_path / "ledger", tmp_path / "witness", witness).ok
    _grow(tmp_path / "other", entry, 500, 550)
    problems = look(tmp_path / "other", tmp_path / "witness", witness).problems
    assert "the first 30 of its 70 entries are not those that were there before: a fork" in problems[0].what
    assert [(problem.index, problem.end) for problem in problems[1:]] == [(20, 30)]
    assert len(list((witness.folder_of(ORIGIN) / "evidence").iterdir())) == 1
    assert look(tmp_path / "ledger", tmp_path / "witness", witness).ok  # the true one is still welcome


def test_two_logs_of_one_size_are_a_fork_too(tmp_path: Path, entry) -> None:
    for name, first in (("ledger", 0), ("other", 100)):
        _grow(tmp_path / name, entry, first, first + 10)
    witness = _witness(tmp_path)
    assert look(tmp_path / "ledger", tmp_path / "witness", witness).ok
    assert not look(tmp_path / "other", tmp_path / "witness", witness).ok


def test_a_log_that_vanished_is_missed(tmp_path: Path, entry) -> None:
    _grow(tmp_path / "ledger", entry, 0, 5)
    witness = _witness(tmp_path)
    assert look(tmp_path / "ledger", tmp_path / "witness", witness).ok
    shutil.rmtree(tmp_path / "ledger" / "gateway")
    assert "missing" in look(tmp_path / "ledger", tmp_path / "witness", witness).problems[0].what


def test_a_proof_from_elsewhere_is_told_where_to_begin(tmp_path: Path, entry) -> None:
    _grow(tmp_path / "ledger", entry, 0, 10)
    witness = _witness(tmp_path)
    assert look(tmp_path / "ledger", tmp_path / "witness", witness).ok
    checkpoint = heads.read_head(tmp_path / "ledger" / "gateway" / heads.LATEST).checkpoint
    with pytest.raises(StaleError) as raised:
        witness.add(f"old 4\n\n{checkpoint}")
    assert raised.value.size == 10


def test_what_the_log_did_not_sign_is_refused(tmp_path: Path, entry) -> None:
    witness, stranger = _witness(tmp_path), SignerKey.make("example.com/stranger", LOG)
    strange = Checkpoint("example.com/stranger/gateway", 1, bytes(32)).signed(stranger)
    with pytest.raises(IntegrityError, match=r"not signed by example\.com/ledger"):
        witness.add(f"old 0\n\n{strange}")
    posing = Checkpoint("example.com/other/gateway", 1, bytes(32)).signed(KEY)
    with pytest.raises(IntegrityError, match="whose log it is not"):
        witness.add(f"old 0\n\n{posing}")


def test_the_key_of_the_log_is_remembered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="knows no log yet"):
        Witness(tmp_path / "witness")
    _witness(tmp_path)
    assert Witness(tmp_path / "witness").log_key == KEY.public
    with pytest.raises(IntegrityError, match="a new key is a new log"):
        Witness(tmp_path / "witness", SignerKey.make("example.com/ledger", LOG).public)


def test_a_kill_between_history_and_checkpoint_does_no_harm(tmp_path: Path, entry) -> None:
    _grow(tmp_path / "ledger", entry, 0, 10)
    witness = _witness(tmp_path)
    assert look(tmp_path / "ledger", tmp_path / "witness", witness).ok
    before = (witness.folder_of(ORIGIN) / "checkpoint").read_bytes()
    _grow(tmp_path / "ledger", entry, 10, 20)
    assert look(tmp_path / "ledger", tmp_path / "witness", witness).ok
    (witness.folder_of(ORIGIN) / "checkpoint").write_bytes(before)  # as if killed after the history was written
    with (witness.folder_of(ORIGIN) / "history").open("a") as file:
        file.write("12 half a li")  # or in the middle of it
    _grow(tmp_path / "ledger", entry, 20, 30)
    assert look(tmp_path / "ledger", tmp_path / "witness", _witness(tmp_path)).ok
