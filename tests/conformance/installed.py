"""Node packages as the lock file names them, installed once per lock file outside of the repository."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tokenworks.core.files import locked

FILES = ("package.json", "package-lock.json")


def installed(source: Path) -> Path:
    """Return a folder with the scripts of `source` and the packages that its lock file names."""
    lock = (source / "package-lock.json").read_bytes()
    folder = Path(tempfile.gettempdir()) / f"tokenworks-node-{hashlib.sha256(lock).hexdigest()[:16]}"
    folder.mkdir(exist_ok=True)
    with locked(folder / "install.lock"):
        for name in FILES:
            shutil.copy(source / name, folder / name)
        if not (folder / "done").exists():
            command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
            if done.returncode:
                pytest.skip(f"npm could not install the clients: {done.stderr.strip()[-300:]}")
            (folder / "done").touch()
        for script in source.glob("*.mjs"):
            shutil.copy(script, folder / script.name)
    return folder
