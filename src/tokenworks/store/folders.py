"""Local read-only folders made from manifests. A folder bears its final name only once it is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tokenworks.core.errors import IntegrityError, StoreError
from tokenworks.core.files import locked
from tokenworks.store.blobs import Blobs, hash_file


class Folders:
    """A cache of materialised folders, safe for several processes at once."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self._root, self._blobs = root, blobs

    def materialise(self, digest: str, manifest: Mapping[str, tuple[str, int]]) -> Path:
        """Return the folder, every file verified now; made again where it is missing or was changed."""
        final = self._root / digest
        if _is_whole(final, manifest):
            return final
        try:
            with locked(self._root / "locks" / digest[:2]):
                if not _is_whole(final, manifest):  # another process may have made it while we waited
                    self._make(final, manifest)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(
                f"folder {digest} at {self._root}: {reason}; free some space or mend the permissions"
            ) from error
        return final

    def drop(self, digest: str) -> None:
        """Forget the folder: its files may be links to bytes that are to be deleted."""
        with locked(self._root / "locks" / digest[:2]):
            shutil.rmtree(self._root / digest, ignore_errors=True)

    def _make(self, final: Path, manifest: Mapping[str, tuple[str, int]]) -> None:
        partial = self._root / f"partial-{final.name}"
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed process; the lock is ours
        partial.mkdir(parents=True)
        try:
            for name, (content, _) in manifest.items():
                self._fill(partial / name, content)
            if final.exists():
                shutil.rmtree(final)
            os.rename(partial, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _fill(self, target: Path, content: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self._blobs.local(content)
        _link_or_copy(source, target)
        if hash_file(target) != content:
            raise IntegrityError(
                f"artifact {content} at {self._blobs.place(content)}: the bytes are not those that were stored; "
                "delete that file and run the stage again, or restore it from a backup"
            )


def _is_whole(folder: Path, manifest: Mapping[str, tuple[str, int]]) -> bool:
    """Return whether `folder` holds the files of `manifest`, byte for byte, and no others."""
    if not folder.is_dir():
        return False
    found = {
        (Path(parent) / name).relative_to(folder).as_posix() for parent, _, names in os.walk(folder) for name in names
    }
    if found != manifest.keys():
        return False
    with contextlib.suppress(FileNotFoundError):  # being made again by another process
        return all(
            (folder / name).stat().st_size == size and hash_file(folder / name) == content
            for name, (content, size) in manifest.items()
        )
    return False


def _link_or_copy(source: Path, target: Path) -> None:
    """Link where both lie on one file system and links are allowed; else copy."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP}:
            raise
        shutil.copyfile(source, target)
        target.chmod(0o444)
