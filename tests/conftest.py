"""What every room's tests may ask for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data packs, unpacked; a test that asks for them is skipped where they are not at hand."""
    folder = Path(os.environ.get("TOKENWORKS_DATA") or Path(tempfile.gettempdir()) / "tokenworks-data")
    if folder.is_dir():
        return folder
    unpack = Path(__file__).parents[2] / "shared" / "data" / "unpack"
    if not unpack.exists():
        pytest.skip(f"no real data: neither {folder} nor {unpack} exists; set TOKENWORKS_DATA")
    done = subprocess.run([sys.executable, str(unpack)], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip().splitlines()[-1])
