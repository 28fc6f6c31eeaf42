"""Our bundles against the official library, in both directions, and every way to tamper with a folder."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import model_signing
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import IntegrityError, RefusedError
from tokenworks.line.release import sign
from tokenworks.line.release.keys import SigningKey, ensure_signing_key


def _official_verify(folder: Path, home: Path) -> None:
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=home / "keys" / "signing.pub.pem")
    config.verify(folder, folder / sign.SIGNATURE)


def _official_sign(folder: Path, home: Path) -> None:
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[sign.SIGNATURE], ignore_git_paths=True)
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=home / "keys" / "signing.pem")
    config.set_hashing_config(hashing).sign(folder, folder / sign.SIGNATURE)


def _check(folder: Path, key: SigningKey) -> sign.Signed:
    signed = sign.read_signature(folder, key.public)
    sign.compare(folder, signed)
    return signed


def test_the_official_library_verifies_what_we_sign(model_folder: Path, key: SigningKey, tmp_path: Path):
    (model_folder / "sub" / "deeper").mkdir(parents=True)
    (model_folder / "sub" / "deeper" / "ümlaut.txt").write_text("x")
    (model_folder / "sub-a.txt").write_text("sorts differently by parts and by characters")
    (model_folder / ".gitattributes").write_text("left out by the format")
    sign.sign_folder(model_folder, key, name="route@1")
    _official_verify(model_folder, tmp_path / "home")


def test_the_official_library_refuses_our_bundle_over_a_changed_folder(
    model_folder: Path, key: SigningKey, tmp_path: Path
):
    sign.sign_folder(model_folder, key, name="route@1")
    (model_folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json"):
        _official_verify(model_folder, tmp_path / "home")


def test_we_verify_what_the_official_library_signs(model_folder: Path, key: SigningKey, tmp_path: Path):
    (model_folder / "sub").mkdir()
    (model_folder / "sub" / "b.txt").write_text("b")
    (model_folder / "sub-a.txt").write_text("a")
    _official_sign(model_folder, tmp_path / "home")
    signed = _check(model_folder, key)
    assert signed.files.keys() == {p.relative_to(model_folder).as_posix() for p in model_folder.rglob("*.*")} - {
        sign.SIGNATURE
    }


def test_we_refuse_an_official_bundle_over_a_changed_folder(model_folder: Path, key: SigningKey, tmp_path: Path):
    _official_sign(model_folder, tmp_path / "home")
    (model_folder / "tokenizer.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"changed: tokenizer\.json"):
        _check(model_folder, key)


def test_signing_twice_gives_the_same_bytes(model_folder: Path, key: SigningKey):
    first = sign.sign_folder(model_folder, key, name="route@1")
    data = (model_folder / sign.SIGNATURE).read_bytes()
    assert sign.sign_folder(model_folder, key, name="route@1") == first
    assert (model_folder / sign.SIGNATURE).read_bytes() == data


def test_a_changed_a_missing_and_an_extra_file_are_each_named(model_folder: Path, key: SigningKey):
    sign.sign_folder(model_folder, key, name="m")
    original = (model_folder / "config.json").read_bytes()
    (model_folder / "config.json").write_bytes(original.replace(b"8", b"9"))
    with pytest.raises(IntegrityError, match=r"changed: config\.json\)"):
        _check(model_folder, key)
    (model_folder / "config.json").write_bytes(original)
    (model_folder / "extra.txt").write_text("x")
    with pytest.raises(IntegrityError, match=r"not in the signature: extra\.txt"):
        _check(model_folder, key)
    (model_folder / "extra.txt").unlink()
    (model_folder / "tokenizer.json").unlink()
    with pytest.raises(IntegrityError, match=r"missing: tokenizer\.json"):
        _check(model_folder, key)


def test_an_unsigned_folder_and_an_empty_one_are_refused(model_folder: Path, key: SigningKey, tmp_path: Path):
    with pytest.raises(RefusedError, match=r"not signed \(model\.sig is missing\)"):
        _check(model_folder, key)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusedError, match="no file to sign"):
        sign.sign_folder(tmp_path / "empty", key, name="m")


def test_another_homes_signature_is_refused_and_both_keys_are_named(
    model_folder: Path, key: SigningKey, tmp_path: Path
):
    stranger = ensure_signing_key(tmp_path / "other")
    sign.sign_folder(model_folder, stranger, name="m")
    with pytest.raises(RefusedError, match=f"{stranger.public.key_id[:12]}.*{key.public.key_id[:12]}"):
        _check(model_folder, key)


def test_a_hint_that_lies_does_not_help(model_folder: Path, key: SigningKey, tmp_path: Path):
    sign.sign_folder(model_folder, ensure_signing_key(tmp_path / "other"), name="m")
    path = model_folder / sign.SIGNATURE
    bundle = json.loads(path.read_bytes())
    bundle["verificationMaterial"]["publicKey"]["hint"] = key.public.key_id
    path.write_text(json.dumps(bundle))
    with pytest.raises(RefusedError, match="does not fit its content"):
        _check(model_folder, key)


def test_a_symbolic_link_is_refused(model_folder: Path, key: SigningKey, tmp_path: Path):
    (tmp_path / "outside.txt").write_text("x")
    (model_folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(RefusedError, match=r"link\.txt: a symbolic link"):
        sign.sign_folder(model_folder, key, name="m")


def _resign(folder: Path, key: SigningKey, change) -> None:
    """Sign a statement of another shape with the true key, as a foreign tool might."""
    path = folder / sign.SIGNATURE
    statement = json.loads(base64.b64decode(json.loads(path.read_bytes())["dsseEnvelope"]["payload"]))
    change(statement)
    path.write_bytes(sign._bundle(json.dumps(statement).encode(), key))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"), "the statement is a https://slsa.dev"),
        (lambda s: s["predicate"]["serialization"].update(method="shards"), "hashed by shards"),
        (lambda s: s["predicate"]["resources"][0].update(algorithm="blake3"), "blake3"),
        (lambda s: s["predicate"]["serialization"].update(ignore_paths=["model.safetensors"]), r"leaves .*unsigned"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "contradicts itself"),
        (lambda s: s["predicate"].pop("resources"), "lacks 'resources'"),
        (lambda s: s.update(subject=[]), "lacks"),
    ],
)
def test_a_well_signed_statement_that_does_not_cover_the_folder_is_refused(
    model_folder: Path, key: SigningKey, change, message: str
):
    sign.sign_folder(model_folder, key, name="m")
    _resign(model_folder, key, change)
    with pytest.raises(RefusedError, match=message):
        _check(model_folder, key)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_single_changed_byte_anywhere_gets_through(model_folder: Path, key: SigningKey, data):
    sign.sign_folder(model_folder, key, name="m")
    path = model_folder / data.draw(st.sampled_from(["config.json", "model.safetensors", "head.safetensors"]))
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    path.write_bytes(good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :])
    try:
        with pytest.raises(IntegrityError, match=path.name):
            _check(model_folder, key)
    finally:
        path.write_bytes(good)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_signature_file_is_refused_whatever_the_damage(model_folder: Path, key: SigningKey, data):
    honest = sign.sign_folder(model_folder, key, name="m")
    path = model_folder / sign.SIGNATURE
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = data.draw(st.sampled_from([good[:at], good[:at] + b"x" + good[at + 1 :], b"[]", b"{}", b"null", b"\xff"]))
    path.write_bytes(bad)
    try:
        says = sign.read_signature(model_folder, key.public)
    except RefusedError:
        return
    assert says == honest  # damage to a field that carries no meaning, such as the empty key id
