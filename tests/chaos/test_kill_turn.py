"""`kill -9` of a turn at any moment, as often as one likes: it ends as an undisturbed one does. KILLS=20: long form."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from factory.banking import TASK, live, questions, write_rows
from system.processes import tokenworks
from tokenworks.core.task import read_task
from tokenworks.factory import Factory
from tokenworks.flywheel.turn.state import Turns
from tokenworks.ledger.entries import TurnEntry, TurnStepEntry
from tokenworks.ledger.reader import read

KILLS = int(os.environ.get("KILLS", "4"))
pytestmark = [pytest.mark.xdist_group("kill"), pytest.mark.timeout(900)]


def home_with_feedback(folder, base):
    write_rows(folder / "examples.jsonl", questions(60))
    (folder / "bank.toml").write_text(TASK.format(base=base, autonomy="promote"))
    with Factory(home=folder / "seed") as factory:
        task = factory.remember(read_task(folder / "bank.toml"))
        factory.make(task)
        if factory.catalog.releases.current("bank") is None:
            factory.promote("bank@1", reason="for the test")
        live(factory, questions(400, seed=5))
    return folder / "seed"


def end_state(home):
    """Return what must not depend on kills: data, weights, decision, releases, and one entry for each thing done."""
    with Factory(home=home) as factory:
        state = Turns(factory.catalog).last("bank")
        entries = [entry for _, entry in read(factory.ledger_root)]
        steps = [(one.number, one.step) for one in entries if isinstance(one, TurnStepEntry)]
        assert len(steps) == len(set(steps))
        return {
            "outcome": state.outcome,
            "data": state.selection["parts"],
            "tried": [(one.strategy, one.weights) for one in state.tried],
            "candidate": state.candidate,
            "releases": [(one.action, one.version) for one in factory.catalog.releases.history("bank")],
            "versions": len(factory.catalog.models.of("bank")),
            "turns": sum(isinstance(one, TurnEntry) for one in entries),
            "steps": steps,
        }


def over(home):
    """Return whether the turn has ended: killed after that, nothing is left to go on with."""
    with Factory(home=home) as factory:
        state = Turns(factory.catalog).last("bank")
    return state is not None and not state.open


def killed(home, after_s):
    """Run the turn and kill its process group after a while; return whether it was still working."""
    command = [sys.executable, "-m", "tokenworks.cli.main", "--home", str(home), "turn", "run", "bank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def test_killed_at_random_points_a_turn_ends_as_an_undisturbed_one_does(tmp_path, tiny_bert):
    seed = home_with_feedback(tmp_path, tiny_bert)
    calm = shutil.copytree(seed, tmp_path / "calm")
    started = time.monotonic()
    done = tokenworks(calm, "turn", "run", "bank")
    whole_s = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    wanted = end_state(calm)
    assert wanted["turns"] == 1
    assert wanted["tried"][0][1]
    rng, kills, round_number = random.Random(0), 0, 0
    while kills < KILLS:
        round_number += 1
        rough = shutil.copytree(seed, tmp_path / f"rough-{round_number}")
        while kills < KILLS and not over(rough):
            after_s = rng.uniform(0.2, whole_s)
            if not killed(rough, after_s):
                whole_s = min(whole_s, after_s)  # it takes less by now: later moments would kill nothing
                break
            kills += 1
        if not over(rough):
            assert tokenworks(rough, "turn", "run", "bank").returncode == 0
        assert end_state(rough) == wanted
        assert tokenworks(rough, "ledger", "verify").returncode == 0
