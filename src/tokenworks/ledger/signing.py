"""The key that signs a ledger's checkpoints: made once, private to the user that runs the factory."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import msgspec

from tokenworks.core.errors import ConflictError, IntegrityError, NotFoundError
from tokenworks.core.files import locked, require_private, write_atomic
from tokenworks.ledger.checkpoint import LogSigner
from tokenworks.ledger.heads import LATEST, read_head, write_latest
from tokenworks.ledger.log import log_locked
from tokenworks.ledger.note import LOG, POST_QUANTUM, SignerKey, VerifierKey
from tokenworks.ledger.reader import writers

SECRET = "ledger.key"
PUBLIC = "ledger.vkey"
SECOND = "ledger-ml-dsa.key"  # beside the first, where it was asked for


def ensure_ledger_key(folder: Path) -> SignerKey:
    """Return the key in `folder`, made there on the first call (`ledger.key`, mode 0600; public half beside).

    With it comes the ML-DSA key, where there is one. Raises `RefusedError` where others may read it and
    `IntegrityError` where it cannot be read at all.
    """
    key = ensure_key(folder, SECRET, PUBLIC, name=f"tokenworks/{os.urandom(6).hex()}", kind=LOG)
    second, public = folder / SECOND, folder / PUBLIC
    said = public.read_text(encoding="utf-8").split()
    if second.exists():
        key = replace(key, beside=_read(second))
        if len(said) < 2:  # a kill between the two files
            write_atomic(public, f"{key.public}\n".encode())
    elif len(said) > 1:
        raise IntegrityError(
            f"{second}: missing, and {public} says that there is one; restore it from a copy, or take its line out of "
            "the public key: what is signed from then on has Ed25519 alone"
        )
    return key


def add_ml_dsa(folder: Path, root: Path) -> SignerKey:
    """Return the key in `folder` with an ML-DSA key beside it, made where there was none; `sign_log` signs with both.

    Raises `ConflictError`, and makes nothing, where a process writes to one of the logs: it knows one key only.
    """
    for writer in writers(root):
        with log_locked(root / writer):
            pass
    first = ensure_ledger_key(folder)
    if first.beside is None:
        write_atomic(folder / SECOND, SignerKey.make(first.name, POST_QUANTUM).secret().encode(), mode=0o600)
    return ensure_ledger_key(folder)


def open_key(folder: Path, root: Path) -> SignerKey:
    """Return the key in `folder`; where there was none, make it and sign the logs that are there already.

    From then on a log that is not signed is refused: so nobody can pass off a forged one as older than the key.
    """
    is_new = not (folder / SECRET).exists()
    key = ensure_ledger_key(folder)
    for writer in writers(root) if is_new else ():
        with contextlib.suppress(ConflictError, IntegrityError):  # in use, or damaged: `ledger sign` will say so
            sign_log(root / writer, key)
    return key


def ensure_key(folder: Path, secret: str, public: str, *, name: str, kind: int) -> SignerKey:
    """Return the key in the file `secret`; made on the first call, under that name."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / secret
    with locked(folder / ".lock"):
        if not path.exists():
            write_atomic(path, SignerKey.make(name, kind).secret().encode(), mode=0o600)
        key = _read(path)
        # Written from the secret half each time it is missing: a kill between the two writes heals itself.
        if not (folder / public).exists():
            write_atomic(folder / public, f"{key.public}\n".encode())
    return key


def read_verifier(path: Path) -> VerifierKey:
    """Return the public key in the file; raise `NotFoundError` or `ConfigError`."""
    try:
        return VerifierKey.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no public key there; a ledger makes its own when it is first written") from None


def sign_log(log: Path, key: SignerKey) -> bool:
    """Sign the last tree head of a log that is not signed with `key` yet; return whether it was not.

    For logs older than the key: check them first, for what they hold now is what the signature vouches for.
    Raises `ConflictError` where a process writes there, and `IntegrityError` for a damaged head.
    """
    with log_locked(log):
        head, signer = read_head(log / LATEST), LogSigner(key, log.name)
        root = bytes.fromhex(head.root)
        if signer.made(head.checkpoint, head.size, root):
            return False
        checkpoint = signer.checkpoint(head.size, root)
        write_latest(log, msgspec.structs.replace(head, checkpoint=checkpoint))
        return True


def _read(path: Path) -> SignerKey:
    require_private(path, "secret key")
    try:
        return SignerKey.parse(path.read_text(encoding="utf-8"))
    except (IntegrityError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"{path}: {error}; restore it from a copy: with a new one, old checkpoints verify with the old public key"
        ) from None
