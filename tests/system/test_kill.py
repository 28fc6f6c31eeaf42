"""`kill -9` of everything, at any moment, then `up` again: the same corpus and the same model."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from system.processes import tokenworks, write_tasks
from tokenworks.factory import Factory

KILLS = int(os.environ.get("KILLS", "3"))  # KILLS=10 for the long form
pytestmark = [pytest.mark.xdist_group("kill"), pytest.mark.timeout(900)]


def digests(home):
    """Return what the line made for both tasks: corpus and weights."""
    with Factory(home=home) as factory:
        made = {}
        for task in ("route", "complete"):
            for result in factory.catalog.stages.of(task):
                made.update({(task, result.stage, name): digest for name, digest in result.outputs.items()})
        return {key: digest for key, digest in made.items() if key[2] in ("corpus", "model", "train")}


def up(home, files):
    arguments = ["--port", "0", "--once", *(word for file in files for word in ("--task", str(file)))]
    return [sys.executable, "-m", "tokenworks.cli.main", "--home", str(home), "up", *arguments]


def kill_group(home, files, after_s):
    """Start `up` and kill its whole process group after a while; return whether it was still working."""
    process = subprocess.Popen(
        up(home, files), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def test_killed_at_random_points_the_line_ends_with_the_same_corpus_and_weights(tmp_path):
    files = write_tasks(tmp_path)
    started = time.monotonic()
    subprocess.run(up(tmp_path / "calm", files), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    whole_s = time.monotonic() - started
    rng = random.Random(0)
    killed = sum(kill_group(tmp_path / "rough", files, rng.uniform(0.5, whole_s / 2)) for _ in range(KILLS))
    assert killed
    subprocess.run(up(tmp_path / "rough", files), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    calm, rough = digests(tmp_path / "calm"), digests(tmp_path / "rough")
    assert ("complete", "train.pretrain", "model") in calm
    assert {key: calm[key] for key in calm if key[2] != "plan"} == {
        key: rough[key] for key in rough if key[2] != "plan"
    }
    assert tokenworks(tmp_path / "rough", "ledger", "verify").returncode == 0
