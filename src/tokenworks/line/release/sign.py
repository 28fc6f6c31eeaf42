"""OpenSSF model signing, `key` method: `model.sig` is a sigstore bundle holding a signed list of file hashes.

A DSSE envelope around an in-toto statement, as the `model-signing` package writes it: each verifies what the other
signs (decision 0081 says why there is an implementation of our own). Knows nothing of the catalog.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import IntegrityError, RefusedError
from tokenworks.core.files import write_atomic
from tokenworks.core.ids import canonical_json
from tokenworks.line.release.keys import PublicKey, SigningKey

SIGNATURE = "model.sig"
IGNORED = (".git", ".gitattributes", ".github", ".gitignore", SIGNATURE)  # what the format leaves out by default
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_HASHERS = 4  # SHA-256 releases the interpreter; more threads than this only compete for memory


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What a signature says, once it is known to be ours."""

    name: str
    digest: str  # SHA-256 over the file digests, in the order listed
    files: dict[str, str]  # relative POSIX path -> SHA-256
    ignored: frozenset[str]


def sign_folder(folder: Path, key: SigningKey, *, name: str) -> Signed:
    """Write `model.sig` over every file of `folder` and return what it says; equal folders give equal bytes."""
    files = hash_files(folder, ignored=frozenset(IGNORED))
    if not files:
        raise RefusedError(f"{folder}: there is no file to sign")
    digest = _root(files)
    resources = [{"name": path, "algorithm": "sha256", "digest": value} for path, value in files.items()]
    serialization = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": list(IGNORED),
    }
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}}],
        "predicateType": _PREDICATE,
        "predicate": {"serialization": serialization, "resources": resources},
    }
    payload = canonical_json(statement)
    write_atomic(folder / SIGNATURE, _bundle(payload, key))
    return Signed(name=name, digest=digest, files=files, ignored=frozenset(IGNORED))


def read_signature(folder: Path, public_key: PublicKey) -> Signed:
    """Return what `model.sig` of `folder` says; raise `RefusedError` unless `public_key` vouches for it."""
    path = folder / SIGNATURE
    if not path.is_file():
        raise RefusedError(
            f"{folder}: not signed ({SIGNATURE} is missing); let this home seal it: tokenworks up --model {folder}"
        )
    try:
        bundle = msgspec.json.decode(path.read_bytes())
        envelope = bundle["dsseEnvelope"]
        hint = bundle["verificationMaterial"].get("publicKey", {}).get("hint") or ""
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        kinds = (bundle["mediaType"], envelope["payloadType"])
    except (msgspec.DecodeError, KeyError, IndexError, TypeError, AttributeError, binascii.Error) as error:
        raise RefusedError(f"{path}: not a model signature ({error!r}); seal the folder again") from None
    if kinds != (_BUNDLE, _PAYLOAD):
        raise RefusedError(f"{path}: a bundle of type {kinds}; needed are {(_BUNDLE, _PAYLOAD)}")
    if hint and hint != public_key.key_id:
        raise RefusedError(
            f"{path}: signed with key {hint[:12]}, trusted is {public_key.key_id[:12]}; "
            "trust that key or seal the folder with this home's own"
        )
    if not public_key.verifies(signature, _pae(payload)):
        raise RefusedError(f"{path}: the signature does not fit its content: it was changed; take the folder again")
    return _parse(payload, path)


def hash_files(folder: Path, *, ignored: frozenset[str]) -> dict[str, str]:
    """Return relative path -> SHA-256 of every file below `folder`, sorted; `ignored` names top-level entries.

    A symbolic link is refused: it would let the bytes change without the folder changing.
    """
    paths = sorted(_walk(folder, ignored))
    with ThreadPoolExecutor(max_workers=_HASHERS) as pool:
        return dict(zip(paths, pool.map(_sha256, (folder / path for path in paths)), strict=True))


def compare(folder: Path, signed: Signed) -> None:
    """Raise `IntegrityError` naming each file of `folder` that is changed, missing or not in the signature."""
    present = set(_walk(folder, signed.ignored))
    missing, extra = sorted(signed.files.keys() - present), sorted(present - signed.files.keys())
    if missing or extra:  # before hashing: half of a large folder need not be read to refuse it
        raise IntegrityError(_difference(folder, changed=[], missing=missing, extra=extra))
    found = hash_files(folder, ignored=signed.ignored)
    changed = [path for path in sorted(found) if found[path] != signed.files[path]]
    if changed:
        raise IntegrityError(_difference(folder, changed=changed, missing=[], extra=[]))


def _difference(folder: Path, *, changed: list[str], missing: list[str], extra: list[str]) -> str:
    parts = [
        f"{word}: {', '.join(paths[:8])}{' ...' if len(paths) > 8 else ''}"
        for word, paths in (("changed", changed), ("missing", missing), ("not in the signature", extra))
        if paths
    ]
    return f"{folder}: not the folder that was signed ({'; '.join(parts)}); fetch it again, or seal what is there"


def _walk(folder: Path, ignored: frozenset[str]) -> Iterator[str]:
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if relative.parts[0] in ignored:
            continue
        if path.is_symlink():
            raise RefusedError(f"{path}: a symbolic link; a model folder holds plain files: copy the target here")
        if path.is_file():
            yield relative.as_posix()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _root(files: dict[str, str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(value) for value in files.values())).hexdigest()


def _pae(payload: bytes) -> bytes:
    # DSSE v1.0.0 protocol, "PAE": what is signed is the type and the body, each with its length.
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def _bundle(payload: bytes, key: SigningKey) -> bytes:
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": _PAYLOAD,
        "signatures": [{"sig": base64.b64encode(key.sign(_pae(payload))).decode(), "keyid": ""}],
    }
    material = {"publicKey": {"hint": key.public.key_id}, "tlogEntries": []}
    return canonical_json({"mediaType": _BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope})


def _parse(payload: bytes, path: Path) -> Signed:
    """Return the statement as `Signed`. Its bytes are ours by now, but another signer may mean other things."""
    statement: dict[str, Any] = msgspec.json.decode(payload)
    if statement.get("_type") != _STATEMENT or statement.get("predicateType") != _PREDICATE:
        raise RefusedError(f"{path}: the statement is a {statement.get('predicateType')}, needed is {_PREDICATE}")
    try:
        (subject,) = statement["subject"]
        how = statement["predicate"]["serialization"]
        resources = statement["predicate"]["resources"]
        files = {each["name"]: each["digest"] for each in resources}
        name, digest = subject["name"], subject["digest"]["sha256"]
        ignored = frozenset(how.get("ignore_paths", ())) | {SIGNATURE}
        kinds = {each["algorithm"] for each in resources}
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"{path}: the statement lacks {error}; seal the folder again") from None
    if how.get("method") != "files" or kinds != {"sha256"} or len(files) != len(resources):
        raise RefusedError(f"{path}: hashed by {how.get('method')}, {sorted(kinds)}; sign per file with SHA-256")
    if not ignored <= set(IGNORED):
        raise RefusedError(f"{path}: leaves {sorted(ignored - set(IGNORED))} unsigned; sign every file")
    if _root(files) != digest:
        raise RefusedError(f"{path}: the statement contradicts itself (root {digest[:12]}); seal the folder again")
    return Signed(name=name, digest=digest, files=files, ignored=ignored)
