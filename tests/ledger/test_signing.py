"""The ledger's key: made once, private, and from then on nothing unsigned passes for old."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ledger.tampering import SMALL, Scene, change, forge_heads
from tokenworks.core.errors import ConfigError, IntegrityError, NotFoundError, RefusedError
from tokenworks.ledger import heads
from tokenworks.ledger.note import SignerKey
from tokenworks.ledger.signing import SECRET, ensure_ledger_key, open_key, read_verifier, sign_log
from tokenworks.ledger.verify import verify
from tokenworks.ledger.writer import Ledger


def _write(root: Path, entry, key: SignerKey | None, count: int = 30) -> None:
    with Ledger(root, "gateway", segment_bytes=SMALL, key=key) as ledger:
        for number in range(count):
            ledger.append(entry(number))


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    key = ensure_ledger_key(tmp_path)
    assert (tmp_path / SECRET).stat().st_mode & 0o777 == 0o600
    assert ensure_ledger_key(tmp_path).public == key.public == read_verifier(tmp_path / "ledger.vkey")
    (tmp_path / "ledger.vkey").unlink()  # as a kill between the two files leaves it
    with pytest.raises(NotFoundError):
        read_verifier(tmp_path / "ledger.vkey")
    ensure_ledger_key(tmp_path)
    assert read_verifier(tmp_path / "ledger.vkey") == key.public


def test_a_key_that_others_may_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    ensure_ledger_key(tmp_path)
    (tmp_path / SECRET).chmod(0o640)
    with pytest.raises(RefusedError, match="chmod 600"):
        ensure_ledger_key(tmp_path)
    (tmp_path / SECRET).write_text("PRIVATE+KEY+x+00000000+AAAA\n")
    (tmp_path / SECRET).chmod(0o600)
    with pytest.raises(IntegrityError, match="restore it from a copy"):
        ensure_ledger_key(tmp_path)


def test_every_head_is_signed_also_those_that_recovery_writes(tmp_path: Path, entry) -> None:
    key = ensure_ledger_key(tmp_path / "keys")
    _write(tmp_path / "ledger", entry, key)
    early = (tmp_path / "ledger" / "gateway" / heads.LATEST).read_bytes()
    _write(tmp_path / "ledger", entry, key)
    for path in (tmp_path / "ledger" / "gateway").glob("*.head"):
        path.unlink()
    (tmp_path / "ledger" / "gateway" / heads.LATEST).write_bytes(early)  # as after a kill: the head is behind
    _write(tmp_path / "ledger", entry, key)
    found = verify(tmp_path / "ledger", key=key.public)
    assert found.signed == {"gateway": 90}
    missing = [problem for problem in found.problems if "the tree head is missing" not in problem.what]
    assert missing == []  # those of segments before the head are gone; the rest was written, and signed, again
    assert all(heads.read_head(path).checkpoint for path in (tmp_path / "ledger" / "gateway").glob("*.head"))


def test_a_log_older_than_the_key_is_signed_when_the_key_is_made(tmp_path: Path, entry) -> None:
    _write(tmp_path / "ledger", entry, None)
    assert verify(tmp_path / "ledger").ok
    key = open_key(tmp_path / "keys", tmp_path / "ledger")
    assert verify(tmp_path / "ledger", key=key.public).ok
    _write(tmp_path / "ledger", entry, key)
    assert verify(tmp_path / "ledger", key=key.public).signed == {"gateway": 60}


def test_once_there_is_a_key_a_log_whose_signature_was_taken_off_is_refused(tmp_path: Path, entry) -> None:
    key = open_key(tmp_path / "keys", tmp_path / "ledger")
    _write(tmp_path / "ledger", entry, key)
    change(Scene(tmp_path / "ledger", key, tmp_path, tmp_path))
    forge_heads(tmp_path / "ledger" / "gateway", None)
    for path in (tmp_path / "ledger" / "gateway").glob("*head*"):
        head = msgspec.structs.replace(heads.read_head(path), checkpoint="")
        path.write_bytes(msgspec.json.encode(head))
    assert verify(tmp_path / "ledger").ok  # without the key nobody can tell
    assert "not signed" in verify(tmp_path / "ledger", key=key.public).problems[0].what
    with pytest.raises(IntegrityError, match="not signed with this ledger's key"):
        _write(tmp_path / "ledger", entry, key)
    assert open_key(tmp_path / "keys", tmp_path / "ledger").public == key.public  # which does not sign it either
    assert verify(tmp_path / "ledger", key=key.public).problems


def test_a_signed_log_is_not_gone_on_with_without_its_key(tmp_path: Path, entry) -> None:
    key = ensure_ledger_key(tmp_path / "keys")
    _write(tmp_path / "ledger", entry, key)
    with pytest.raises(ConfigError, match="open it with the key"):
        _write(tmp_path / "ledger", entry, None)
    with pytest.raises(IntegrityError):
        _write(tmp_path / "ledger", entry, ensure_ledger_key(tmp_path / "others"))
    assert not sign_log(tmp_path / "ledger" / "gateway", key)
