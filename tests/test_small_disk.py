"""The small disk of a test is full when it is full, and nobody else ever sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = """
import sys
from pathlib import Path
from small_disk import mounted

folder = Path(sys.argv[1])
if not mounted(folder, "64k"):
    sys.exit("no right to mount")
try:
    (folder / "much").write_bytes(bytes(1 << 20))
except OSError as error:
    print(error.strerror, flush=True)
sys.stdin.read()
"""


def test_a_small_disk_is_full_and_leaves_nothing_behind_when_its_process_is_killed(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    words = [sys.executable, "-c", FULL, str(folder)]
    with subprocess.Popen(
        words,
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        told = process.stdout.readline().strip()
        here = (folder.is_mount(), list(folder.iterdir()))
        process.kill()
        problem = process.stderr.read()
    if "no right" in problem:
        pytest.skip("a small disk can be mounted by root alone")
    assert told == "No space left on device", problem
    assert here == (False, [])
    folder.rmdir()
    assert str(folder) not in Path("/proc/self/mounts").read_text()
