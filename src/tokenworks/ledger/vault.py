"""A key for each subject (a tenant's end user), so that erasing the key erases every copy of the texts sealed with it.

The keys lie in one file, wrapped by a key of this home; who erases overwrites them there. Knows no text.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tokenworks.core.clock import Clock, SystemClock
from tokenworks.core.entropy import random_bytes
from tokenworks.core.errors import IntegrityError
from tokenworks.core.files import locked, require_private, write_atomic

HOME_KEY, KEYS = "bodies.key", "subjects.keys"
ID_BYTES, NONCE_BYTES = 16, 12
REMEMBERED = 65_536  # ciphers held in memory
_MAGIC = b"TWKEYS01"
_GENERATION = slice(8, 16)  # grows with each erasure, so that other processes forget what they hold
_HEAD_BYTES = 64
_SLOT = struct.Struct("<B8s32sd12s48sI")  # state, random half of the id, subject, Unix time, nonce, wrapped key, crc32
_SUBJECT = slice(9, 41)
_SLOT_BYTES = 128
_SLOTS_READ = 8192
_LIVE, _ERASED = 1, 2


class Subject(NamedTuple):
    """Whose a text is, and under which label; `user` is a pseudonym, empty where the caller named none."""

    tenant: str = ""
    user: str = ""
    label: str = ""


class _Cipher(NamedTuple):
    key_id: bytes
    aead: AESGCM


class Vault:
    """The keys in `folder`; any number of processes and threads may use them at once."""

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._lock_path = folder / f"{KEYS}.lock"
        path = folder / KEYS
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._lock_path):
            self._home = _home_key(folder / HOME_KEY, is_new=not path.exists())
            if not path.exists():
                write_atomic(path, _MAGIC.ljust(_HEAD_BYTES, b"\0"), mode=0o600)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._head = mmap.mmap(self._file, _HEAD_BYTES, prot=mmap.PROT_READ)
        if self._head[:8] != _MAGIC:
            raise IntegrityError(f"{path}: damaged; restore it from a copy: without it sealed texts cannot be read")
        self._seen = self._head[_GENERATION]
        self._slots: dict[bytes, int] = {}  # subject -> its live slot
        self._scanned = 0
        self._ciphers: OrderedDict[tuple[str, str], _Cipher] = OrderedDict()
        self._opened: OrderedDict[bytes, AESGCM] = OrderedDict()
        self._scan()  # now, and not with the first text: with a million subjects it takes seconds

    def close(self) -> None:
        """Sync the keys that were made and let go."""
        os.fsync(self._file)
        self._head.close()
        os.close(self._file)

    def seal(self, subject: Subject, about: bytes, text: bytes) -> bytes:
        """Return `id of the key | nonce | AES-256-GCM of text`; it opens under the same `about` alone."""
        cipher = self._cipher(subject.tenant, subject.user)
        nonce = random_bytes(NONCE_BYTES)
        return cipher.key_id + nonce + cipher.aead.encrypt(nonce, text, about)

    def open(self, about: bytes, sealed: bytes) -> bytes | None:
        """Return the text, None where its key was erased. Raises `IntegrityError` for damage and for a lost key."""
        aead = self._aead(sealed[:ID_BYTES])
        if aead is None:
            return None
        nonce = sealed[ID_BYTES : ID_BYTES + NONCE_BYTES]
        try:
            return aead.decrypt(nonce, sealed[ID_BYTES + NONCE_BYTES :], about)
        except InvalidTag:
            raise IntegrityError(f"a sealed text does not fit its key in {self._path}; restore both together") from None

    def is_erased(self, sealed: bytes) -> bool:
        """Return whether the key of a sealed text was erased."""
        return self._aead(sealed[:ID_BYTES]) is None

    def erase(self, tenant: str, user: str, *, until: float) -> bool:
        """Overwrite the subject's key if it was made before that Unix time; return whether there was one.

        What is asked later gets another key. On disk when it returns; doing it again changes nothing.
        """
        subject = self._subject(tenant, user)
        with self._lock, locked(self._lock_path):
            self._scan()
            slot = self._slots.get(subject)
            if slot is None:
                return False
            if self._read(slot)[0] != _LIVE:  # erased by another process
                del self._slots[subject]
                return False
            _, half, _, made_at, _, _, _ = self._read(slot)
            if made_at > until:
                return False
            self._write(slot, (_ERASED, half, subject, made_at, bytes(NONCE_BYTES), bytes(48)))
            os.fdatasync(self._file)
            generation = int.from_bytes(self._head[_GENERATION], "little") + 1
            os.pwrite(self._file, generation.to_bytes(8, "little"), _GENERATION.start)
            os.fdatasync(self._file)
            del self._slots[subject]
            self._forget()
            return True

    def is_of(self, sealed: bytes, tenant: str, user: str) -> bool:
        """Return whether the sealed text is that subject's."""
        return self._read(_slot_of(sealed[:ID_BYTES]))[2] == self._subject(tenant, user)

    def _cipher(self, tenant: str, user: str) -> _Cipher:
        with self._lock:
            if self._head[_GENERATION] != self._seen:
                self._forget()
            found = self._ciphers.get((tenant, user))
            if found is None:
                found = self._ciphers[tenant, user] = self._find_or_make(tenant, user)
                if len(self._ciphers) > REMEMBERED:
                    self._ciphers.popitem(last=False)
            return found

    def _find_or_make(self, tenant: str, user: str) -> _Cipher:
        subject = self._subject(tenant, user)
        while True:
            if subject not in self._slots:
                with locked(self._lock_path):
                    self._scan()
                    if subject not in self._slots:
                        self._make(subject)
            slot = self._slots[subject]
            key_id = slot.to_bytes(8, "big") + self._read(slot)[1]
            aead = self._aead(key_id)
            if aead is not None:
                return _Cipher(key_id, aead)
            del self._slots[subject]  # erased by another process since

    def _make(self, subject: bytes) -> None:
        """Add a key. Not synced, as the texts are not: a power cut may take the last of both."""
        slot = self._scanned
        half, nonce = os.urandom(8), os.urandom(NONCE_BYTES)
        about = slot.to_bytes(8, "big") + half + subject
        wrapped = self._home.encrypt(nonce, AESGCM.generate_key(256), about)
        self._write(slot, (_LIVE, half, subject, self._clock.now(), nonce, wrapped))
        self._slots[subject] = slot
        self._scanned = slot + 1

    def _aead(self, key_id: bytes) -> AESGCM | None:
        with self._lock:
            if self._head[_GENERATION] != self._seen:
                self._forget()
            if key_id in self._opened:
                return self._opened[key_id]
            state, half, subject, _, nonce, wrapped, _ = self._read(_slot_of(key_id))
            if half != key_id[8:]:
                raise self._lost(key_id)
            if state == _ERASED:
                return None
            try:
                key = self._home.decrypt(nonce, wrapped, key_id + subject)
            except InvalidTag:
                raise self._lost(key_id) from None
            self._opened[key_id] = AESGCM(key)
            if len(self._opened) > REMEMBERED:
                self._opened.popitem(last=False)
            return self._opened[key_id]

    def _scan(self) -> None:
        """Learn of the keys that others made since."""
        end = -(-(os.fstat(self._file).st_size - _HEAD_BYTES) // _SLOT_BYTES)  # one that a crash cut off is left
        while self._scanned < end:
            data = os.pread(self._file, _SLOTS_READ * _SLOT_BYTES, _HEAD_BYTES + self._scanned * _SLOT_BYTES)
            for slot, start in enumerate(range(0, len(data), _SLOT_BYTES), self._scanned):
                found = data[start : start + _SLOT.size]
                # One that a power cut tore is passed by: no text could be read with it.
                if found[0] == _LIVE and _is_whole(found):
                    self._slots[found[_SUBJECT]] = slot
            self._scanned = min(self._scanned + _SLOTS_READ, end)

    def _forget(self) -> None:
        """Take nothing for granted that another process may have erased."""
        self._ciphers.clear()
        self._opened.clear()
        self._seen = self._head[_GENERATION]

    def _subject(self, tenant: str, user: str) -> bytes:
        return hashlib.sha256(f"{len(tenant)}\0{tenant}\0{user}".encode()).digest()

    def _read(self, slot: int) -> tuple[int, bytes, bytes, float, bytes, bytes, int]:
        is_there = slot < 1 << 48  # any more is no place in a file
        data = os.pread(self._file, _SLOT.size, _HEAD_BYTES + slot * _SLOT_BYTES) if is_there else b""
        if not _is_whole(data):
            raise IntegrityError(f"{self._path}: key {slot} is damaged or not there; restore the file from a copy")
        found: tuple[int, bytes, bytes, float, bytes, bytes, int] = _SLOT.unpack(data)
        return found

    def _write(self, slot: int, fields: tuple[int, bytes, bytes, float, bytes, bytes]) -> None:
        body = _SLOT.pack(*fields, 0)[:-4]
        data = (body + struct.pack("<I", crc32(body))).ljust(_SLOT_BYTES, b"\0")
        if os.pwrite(self._file, data, _HEAD_BYTES + slot * _SLOT_BYTES) != len(data):
            raise OSError(f"{self._path}: a key could not be written whole")

    def _lost(self, key_id: bytes) -> IntegrityError:
        return IntegrityError(
            f"{self._path}: key {_slot_of(key_id)} is not the one that sealed the text; "
            f"restore this file and {HOME_KEY} from a copy of the same home"
        )


def _is_whole(data: bytes) -> bool:
    return len(data) == _SLOT.size and crc32(data[:-4]) == int.from_bytes(data[-4:], "little")


def _slot_of(key_id: bytes) -> int:
    return int.from_bytes(key_id[:8], "big")


def _home_key(path: Path, *, is_new: bool) -> AESGCM:
    if not path.exists():
        if not is_new:
            raise IntegrityError(f"{path} is gone, and with it every sealed text; restore it from a copy")
        write_atomic(path, AESGCM.generate_key(256).hex().encode(), mode=0o600)
    require_private(path, "secret key")
    try:
        return AESGCM(bytes.fromhex(path.read_text(encoding="ascii")))
    except ValueError:
        raise IntegrityError(f"{path}: damaged; restore it from a copy") from None
