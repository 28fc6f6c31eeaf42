"""Checkpoints with ML-DSA beside Ed25519: both are made, both are demanded, and neither stands in for the other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ledger.tampering import SMALL, stand_alone
from tokenworks.core.errors import ConfigError, ConflictError, IntegrityError, RefusedError
from tokenworks.ledger import heads
from tokenworks.ledger.checkpoint import LogSigner
from tokenworks.ledger.note import LOG, POST_QUANTUM, Note, Signature, SignerKey, VerifierKey
from tokenworks.ledger.proof import check_entry
from tokenworks.ledger.proving import entry_proof
from tokenworks.ledger.signing import PUBLIC, SECOND, add_ml_dsa, ensure_ledger_key, read_verifier, sign_log
from tokenworks.ledger.verify import verify
from tokenworks.ledger.watch import look
from tokenworks.ledger.witness import Witness
from tokenworks.ledger.writer import Ledger

ED, PQ = SignerKey.make("example.com/log", LOG), SignerKey.make("example.com/log", POST_QUANTUM)
BOTH = replace(ED, beside=PQ)


def write(root: Path, entry, key: SignerKey, count: int = 30) -> None:
    with Ledger(root, "gateway", segment_bytes=SMALL, key=key) as ledger:
        for number in range(count):
            ledger.append(entry(number))


def enable(folder: Path) -> SignerKey:
    key = add_ml_dsa(folder / "keys", folder / "ledger")
    sign_log(folder / "ledger" / "gateway", key)
    return key


@pytest.fixture
def grown(tmp_path: Path, entry) -> Path:
    """A ledger of 30 entries, signed with Ed25519; then 30 more, with both."""
    write(tmp_path / "ledger", entry, ensure_ledger_key(tmp_path / "keys"))
    write(tmp_path / "ledger", entry, enable(tmp_path))
    return tmp_path


def resign(folder: Path, key: SignerKey) -> None:
    """Put a checkpoint by `key` below the newest head."""
    log = folder / "ledger" / "gateway"
    head = heads.read_head(log / heads.LATEST)
    made = LogSigner(key, "gateway").checkpoint(head.size, bytes.fromhex(head.root))
    heads.write_latest(log, msgspec.structs.replace(head, checkpoint=made))


def test_a_note_bears_both_and_either_alone_is_not_enough() -> None:
    note = Note.parse(str(Note("text\n", BOTH.signatures("text\n"))))
    assert len(note.signatures) == 2
    assert [key.verified(note) for key in (BOTH.public, ED.public, PQ.public)] == [0.0, 0.0, 0.0]
    with pytest.raises(IntegrityError, match="with Ed25519 and not with ML-DSA"):
        BOTH.public.verified(Note("text\n", note.signatures[:1]))
    assert BOTH.public.verified(Note("text\n", note.signatures[1:])) is None
    for number in range(2):
        wrong = [*note.signatures]
        value = wrong[number].value
        wrong[number] = Signature(wrong[number].name, wrong[number].key_id, value[:-1] + bytes([value[-1] ^ 1]))
        with pytest.raises(IntegrityError, match="does not fit the text"):
            BOTH.public.verified(Note("text\n", tuple(wrong)))
    with pytest.raises(IntegrityError, match="does not fit the text"):
        BOTH.public.verified(Note("other\n", (ED.sign("other\n"), note.signatures[1])))


def test_keys_are_read_as_they_are_written_and_nothing_else_is() -> None:
    assert VerifierKey.parse(str(BOTH.public)) == BOTH.public
    assert SignerKey.parse(PQ.secret()).public == PQ.public
    other = SignerKey.make("example.com/other", POST_QUANTUM)
    for wrong in (f"{ED.public}\n{ED.public}", f"{ED.public}\n{other.public}", f"{PQ.public}\n{ED.public}"):
        with pytest.raises(ConfigError, match="a second line is the ML-DSA key of the same log"):
            VerifierKey.parse(wrong)
    with pytest.raises(ConfigError, match="its id should be"):
        VerifierKey.parse(str(PQ.public).replace(PQ.public.key_id.hex(), "00000000"))


def test_a_ledger_goes_on_under_both_keys_and_verifies_with_both(grown: Path) -> None:
    key = read_verifier(grown / "keys" / PUBLIC)
    assert key.beside is not None
    assert (grown / "keys" / SECOND).stat().st_mode & 0o777 == 0o600
    found = verify(grown / "ledger", key=key)
    assert (found.problems, found.signed) == ((), {"gateway": 60})
    assert verify(grown / "ledger", key=key.alone).ok
    alone = stand_alone("check_ledger.py", grown / "ledger" / "gateway", key)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.splitlines()[1].startswith("signed with Ed25519, and ML-DSA-44")
    classical = stand_alone("check_ledger.py", grown / "ledger" / "gateway", key.alone)
    assert classical.stdout.splitlines()[1] == "signed with Ed25519"


def test_a_head_without_the_second_signature_or_with_anothers_is_found_and_nobody_goes_on_from_it(
    grown: Path, entry
) -> None:
    key, log = ensure_ledger_key(grown / "keys"), grown / "ledger" / "gateway"
    stranger = SignerKey.make(key.name, POST_QUANTUM)
    # whoever has broken Ed25519 signs what they like with it, and has no ML-DSA key
    for forged in (replace(key, beside=None), replace(key, beside=stranger)):
        resign(grown, forged)
        (problem,) = verify(grown / "ledger", key=key.public).problems
        assert "not with ML-DSA" in problem.what
        told = stand_alone("check_ledger.py", log, key.public)
        assert (told.returncode, "head.json: not signed by" in told.stderr) == (1, True)
        with pytest.raises(IntegrityError, match="is not signed with this ledger's key"):
            write(grown / "ledger", entry, key)
    resign(grown, key)
    assert verify(grown / "ledger", key=key.public).ok


def test_a_proof_is_checked_with_both_also_by_the_script(grown: Path) -> None:
    key = read_verifier(grown / "keys" / PUBLIC)
    proof = entry_proof(grown / "ledger", grown / "views", "gateway:7", None)
    assert check_entry(proof, key).index == 7
    (grown / "proof").write_text(proof)
    told = stand_alone("check_proof.py", grown / "proof", key)
    assert (told.returncode, "signed by 2" in told.stdout) == (0, True), told.stderr
    lines = proof.splitlines(keepends=True)
    (grown / "proof").write_text("".join(lines[:-1]))
    assert stand_alone("check_proof.py", grown / "proof", key).returncode == 1
    assert stand_alone("check_proof.py", grown / "proof", key.alone).returncode == 0
    with pytest.raises(IntegrityError, match="give the first line of the verifier key alone"):
        check_entry("".join(lines[:-1]), key)


def test_a_witness_learns_of_the_second_key_and_demands_it_from_then_on(tmp_path: Path, entry) -> None:
    first = ensure_ledger_key(tmp_path / "keys")
    write(tmp_path / "ledger", entry, first)
    seen = tmp_path / "witness"
    assert look(tmp_path / "ledger", seen, Witness(seen, first.public, name="w")).cosigned == ("gateway",)
    both = enable(tmp_path)
    write(tmp_path / "ledger", entry, both)
    witness = Witness(seen, both.public)
    assert (witness.log_key, Witness(seen).log_key, Witness(seen, first.public).log_key) == (both.public,) * 3
    assert look(tmp_path / "ledger", seen, witness).cosigned == ("gateway",)
    write(tmp_path / "ledger", entry, both)
    resign(tmp_path, first)
    assert look(tmp_path / "ledger", seen, witness).problems
    with pytest.raises(IntegrityError, match="a new key is a new log"):
        Witness(seen, replace(first, beside=SignerKey.make(first.name, POST_QUANTUM)).public)


def test_the_key_is_not_made_while_somebody_writes_and_heals_after_a_kill(tmp_path: Path, entry) -> None:
    key = ensure_ledger_key(tmp_path / "keys")
    with Ledger(tmp_path / "ledger", "gateway", key=key) as ledger:
        ledger.append(entry(0))
        with pytest.raises(ConflictError, match="another process writes there"):
            add_ml_dsa(tmp_path / "keys", tmp_path / "ledger")
    assert not (tmp_path / "keys" / SECOND).exists()
    public = (tmp_path / "keys" / PUBLIC).read_text()
    both = add_ml_dsa(tmp_path / "keys", tmp_path / "ledger")
    (tmp_path / "keys" / PUBLIC).write_text(public)  # as a kill between the two files leaves it
    assert ensure_ledger_key(tmp_path / "keys").public == both.public == read_verifier(tmp_path / "keys" / PUBLIC)
    with pytest.raises(IntegrityError, match="run 'tokenworks ledger sign'"):  # or before the logs were signed
        write(tmp_path / "ledger", entry, both)
    assert add_ml_dsa(tmp_path / "keys", tmp_path / "ledger").public == both.public
    assert sign_log(tmp_path / "ledger" / "gateway", both)
    write(tmp_path / "ledger", entry, both)


def test_a_second_key_that_is_missing_or_readable_by_others_is_refused(tmp_path: Path) -> None:
    add_ml_dsa(tmp_path / "keys", tmp_path / "ledger")
    (tmp_path / "keys" / SECOND).chmod(0o644)
    with pytest.raises(RefusedError, match="chmod 600"):
        ensure_ledger_key(tmp_path / "keys")
    shutil.move(tmp_path / "keys" / SECOND, tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="restore it from a copy"):
        ensure_ledger_key(tmp_path / "keys")
