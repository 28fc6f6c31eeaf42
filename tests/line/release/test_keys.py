from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tokenworks.core.errors import IntegrityError, NotFoundError, RefusedError
from tokenworks.line.release.keys import PublicKey, ensure_signing_key


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path):
    first = ensure_signing_key(tmp_path)
    again = ensure_signing_key(tmp_path)
    private = tmp_path / "keys" / "signing.pem"
    assert again.public.pem == first.public.pem
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert PublicKey.read(tmp_path / "keys" / "signing.pub.pem").key_id == first.public.key_id


def _key_id(home: str) -> str:
    return ensure_signing_key(Path(home)).public.key_id


def test_processes_that_start_together_end_with_the_same_key(tmp_path: Path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_key_id, [str(tmp_path)] * 6))) == 1


def test_a_lost_public_half_is_written_again_from_the_private_one(tmp_path: Path):
    key = ensure_signing_key(tmp_path)
    (tmp_path / "keys" / "signing.pub.pem").unlink()
    ensure_signing_key(tmp_path)
    assert (tmp_path / "keys" / "signing.pub.pem").read_bytes() == key.public.pem


def test_a_key_that_others_may_read_is_refused_with_the_command_that_mends_it(tmp_path: Path):
    ensure_signing_key(tmp_path)
    path = tmp_path / "keys" / "signing.pem"
    path.chmod(0o644)
    with pytest.raises(RefusedError, match=r"others may read.*chmod 600"):
        ensure_signing_key(tmp_path)


def test_a_damaged_key_is_named_and_never_replaced_silently(tmp_path: Path):
    ensure_signing_key(tmp_path)
    path = tmp_path / "keys" / "signing.pem"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(IntegrityError, match=r"signing\.pem: not a readable PEM private key"):
        ensure_signing_key(tmp_path)
    assert len(path.read_bytes()) == 60


def test_a_public_key_that_is_missing_damaged_or_of_another_kind_is_named(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no public key there"):
        PublicKey.read(tmp_path / "none.pem")
    (tmp_path / "bad.pem").write_text("hello")
    with pytest.raises(IntegrityError, match="not a PEM public key"):
        PublicKey.read(tmp_path / "bad.pem")
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "ed.pem").write_bytes(other.public_bytes(*form))
    with pytest.raises(RefusedError, match="P-256"):
        PublicKey.read(tmp_path / "ed.pem")


def test_the_same_message_gives_the_same_signature_and_only_its_key_vouches(tmp_path: Path):
    key, stranger = ensure_signing_key(tmp_path / "a"), ensure_signing_key(tmp_path / "b")
    signature = key.sign(b"message")
    assert signature == key.sign(b"message")
    assert key.public.verifies(signature, b"message")
    assert not key.public.verifies(signature, b"messagf")
    assert not stranger.public.verifies(signature, b"message")


def test_a_larger_curve_brought_by_the_operator_works(tmp_path: Path):
    private = ec.generate_private_key(ec.SECP384R1())
    path = tmp_path / "keys" / "signing.pem"
    path.parent.mkdir()
    path.touch(mode=0o600)
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    key = ensure_signing_key(tmp_path)
    assert key.public.verifies(key.sign(b"x"), b"x")
