"""Artifacts: bytes and folders by content hash, verified whenever they are read, wherever they lie."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import msgspec

from tokenworks.core.errors import IntegrityError, StoreError
from tokenworks.core.ids import canonical_json, sha256_hex
from tokenworks.store.blobs import Blobs, copy_hashed
from tokenworks.store.blobs_local import LocalBlobs
from tokenworks.store.blobs_s3 import S3Blobs
from tokenworks.store.folders import Folders

Manifest = dict[str, tuple[str, int]]  # relative POSIX path -> digest, bytes
_DIGEST = re.compile(r"[0-9a-f]{64}")
_manifest = msgspec.json.Decoder(Manifest).decode


def open_artifacts(url: str, *, cache: Path, s3_endpoint: str = "") -> ArtifactStore:
    """Return the store at `url`, a folder or `s3://bucket/prefix`; `cache` is local and may be dropped at any time."""
    if url.startswith("s3://"):
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        return ArtifactStore(S3Blobs(bucket, prefix.strip("/"), LocalBlobs(cache / "blobs"), s3_endpoint), cache)
    if "://" in url and not url.startswith("file://"):
        raise StoreError(f"store.artifacts {url!r}: only a folder or s3://bucket/prefix can hold artifacts")
    return ArtifactStore(LocalBlobs(Path(url.removeprefix("file://")).expanduser()), cache)


class ArtifactStore:
    """Bytes by content hash: equal content is kept once, nothing is ever overwritten, nothing is read unverified."""

    def __init__(self, blobs: Blobs, cache: Path) -> None:
        self._blobs = blobs
        self._folders = Folders(cache / "folders", blobs)

    def put_bytes(self, data: bytes) -> str:
        """Store `data`; return its digest."""
        digest = sha256_hex(data)
        return digest if self._blobs.has(digest) else self._blobs.put(BytesIO(data))[0]

    def put_file(self, path: Path) -> str:
        """Store the bytes of the file, read as a stream; return their digest."""
        return self._put(path)[0]

    def put_folder(self, folder: Path) -> str:
        """Store every regular file below `folder`; return the digest of the manifest that lists them.

        Links to files inside the folder are stored as files. Raises `StoreError` for anything else that is no
        regular file, such as a link that leads out of the folder.
        """
        manifest: Manifest = {}
        for name, path in _files(folder):
            manifest[name] = self._put(path)
        return self.put_bytes(canonical_json(manifest))

    def get_bytes(self, digest: str) -> bytes:
        """Return the bytes; raise `IntegrityError` where they are not those of `digest`."""
        with self._blobs.open(_checked(digest)) as file:
            data = file.read()
        if sha256_hex(data) != digest:
            raise self._damaged(digest)
        return data

    def open(self, digest: str) -> BinaryIO:
        """Return the bytes as an open file, verified before the first one is given out."""
        file = self._blobs.open(_checked(digest))
        if copy_hashed(file, None)[0] != digest:
            file.close()
            raise self._damaged(digest)
        file.seek(0)
        return file

    def folder(self, digest: str) -> Path:
        """Return a local folder with exactly the files of the manifest `digest`, each verified now and read-only."""
        return self._folders.materialise(digest, self.manifest(digest))

    def manifest(self, digest: str) -> Manifest:
        """Return what the folder `digest` consists of."""
        data = self.get_bytes(digest)
        try:
            manifest = _manifest(data)
        except msgspec.DecodeError:
            raise StoreError(f"artifact {digest} is no folder: open it with get_bytes") from None
        for name, (content, _) in manifest.items():
            _checked(content)
            if name.startswith("/") or not set(name.split("/")).isdisjoint({"", ".", ".."}):
                raise IntegrityError(f"folder {digest}: its manifest names {name!r}, outside of the folder; refused")
        return manifest

    def has(self, digest: str) -> bool:
        """Return whether the bytes are here (a folder: its manifest), without reading them."""
        return self._blobs.has(_checked(digest))

    def size(self, digest: str) -> int:
        """Return the number of bytes; raise `NotFoundError` where there are none."""
        return self._blobs.size(_checked(digest))

    def digests(self) -> Iterator[str]:
        """Yield the digest of everything stored, manifests included."""
        return self._blobs.digests()

    def erase(self, digest: str, *, because: str) -> None:
        """Delete the bytes and every local copy; from then on reading them raises `ErasedError` with `because`.

        Of a folder it is the manifest that goes: erase the digests of its files as well. Done again after a kill, it
        finishes. The same bytes may be stored again later: that is a new decision of whoever does it.
        """
        self._folders.drop(_checked(digest))
        self._blobs.erase(digest, because)

    def erased(self, digest: str) -> str:
        """Return why the bytes were erased, empty where they were not or came back since."""
        return self._blobs.erased(_checked(digest))

    def _put(self, path: Path) -> tuple[str, int]:
        try:
            with path.open("rb") as file:
                return self._blobs.put(file)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; it cannot be stored") from error

    def _damaged(self, digest: str) -> IntegrityError:
        place = self._blobs.place(digest)
        return IntegrityError(
            f"artifact {digest} at {place}: the bytes are not those that were stored; "
            "delete that file and run the stage again, or restore it from a backup"
        )


def _checked(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise StoreError(f"{digest!r} is no artifact digest: 64 characters of 0-9 and a-f are")
    return digest


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file of `folder` with its relative name, in the order of the names."""
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder to store")
    root = folder.resolve()
    found: list[tuple[str, Path]] = []
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in (*names, *links):
            path = Path(parent) / name
            found.append((_name(path, folder), _regular(path, root)))
    return iter(sorted(found))


def _name(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise StoreError(f"{folder}: the file name {name!r} is not UTF-8; rename it") from None
    return name


def _regular(path: Path, root: Path) -> Path:
    """Return `path` if it is a regular file, or a link to one below `root`."""
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise StoreError(f"{path}: a link that leads out of the folder; replace it by a copy (cp -rL)")
    if not path.exists() or not stat.S_ISREG(path.stat().st_mode):
        raise StoreError(f"{path}: neither a regular file nor a link to one; remove it or replace it by a copy")
    return path
