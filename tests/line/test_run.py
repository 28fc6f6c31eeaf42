"""Stages are done once, and go on where they were killed."""

import os
import signal
import subprocess
import sys
import textwrap

import msgspec
import pytest

from tokenworks.core.errors import DataError, IntegrityError
from tokenworks.core.stage import Stage
from tokenworks.ledger.reader import read
from tokenworks.ledger.writer import Ledger
from tokenworks.line.events import Advanced, Failed, Finished, Started
from tokenworks.line.run import Runner, stage_key
from tokenworks.store.artifacts import open_artifacts
from tokenworks.store.catalog import open_catalog


class Params(msgspec.Struct, frozen=True):
    factor: int = 1


def count(inputs, params, bench):
    """Write down each time it works, and multiply."""
    with (bench.cache / "calls").open("a") as file:
        file.write("x")
    value = int(bench.artifacts.get_bytes(inputs["number"]))
    return {"product": bench.artifacts.put_bytes(str(value * params.factor).encode())}


COUNT = Stage("count", "1", count)


@pytest.fixture
def runner(tmp_path):
    catalog = open_catalog(f"sqlite:///{tmp_path}/catalog.db")
    artifacts = open_artifacts(str(tmp_path / "artifacts"), cache=tmp_path / "cache")
    events = []
    with Ledger(tmp_path / "ledger", "test-0") as ledger:
        runner = Runner(catalog, artifacts, ledger, tmp_path, listen=events.append)
        object.__setattr__(runner, "events", events)
        yield runner
    catalog.close()


def calls(runner):
    path = runner.home / "cache" / "count" / "calls"
    return len(path.read_text()) if path.exists() else 0


def test_a_stage_works_once_and_is_then_known(runner):
    number = runner.artifacts.put_bytes(b"6")
    first = runner.run(COUNT, {"number": number}, Params(7), task="t")
    again = runner.run(COUNT, {"number": number}, Params(7), task="t")
    assert runner.artifacts.get_bytes(first["product"]) == b"42"
    assert again == first
    assert calls(runner) == 1


def test_other_inputs_parameters_or_code_are_other_work(runner):
    number, other = runner.artifacts.put_bytes(b"6"), runner.artifacts.put_bytes(b"5")
    runner.run(COUNT, {"number": number}, Params(7), task="t")
    runner.run(COUNT, {"number": other}, Params(7), task="t")
    runner.run(COUNT, {"number": number}, Params(8), task="t")
    runner.run(Stage("count", "2", count), {"number": number}, Params(7), task="t")
    assert calls(runner) == 4


def test_the_order_of_inputs_does_not_matter():
    assert stage_key(COUNT, {"a": "1", "b": "2"}, Params()) == stage_key(COUNT, {"b": "2", "a": "1"}, Params())


def test_a_result_whose_artifact_was_lost_is_made_anew(runner):
    number = runner.artifacts.put_bytes(b"6")
    made = runner.run(COUNT, {"number": number}, Params(7), task="t")
    for path in (runner.home / "artifacts").rglob(f"*{made['product'][4:]}"):
        path.chmod(0o644)
        path.unlink()
    assert runner.run(COUNT, {"number": number}, Params(7), task="t") == made
    assert runner.artifacts.get_bytes(made["product"]) == b"42"
    assert calls(runner) == 2


def test_a_failure_is_told_and_leaves_no_result(runner):
    def fail(inputs, params, bench):
        raise DataError("docs/a.md: no text; remove it")

    with pytest.raises(DataError):
        runner.run(Stage("fail", "1", fail), {}, Params(), task="t")
    assert [type(event) for event in runner.events] == [Started, Failed]
    assert runner.catalog.stages.get(stage_key(Stage("fail", "1", fail), {}, Params())) is None


def test_an_output_that_was_never_stored_is_an_error(runner):
    lying = Stage("lie", "1", lambda inputs, params, bench: {"product": "0" * 64})
    with pytest.raises(IntegrityError, match="stage lie: its output 'product'"):
        runner.run(lying, {}, Params(), task="t")


def test_progress_is_passed_on_but_not_for_every_step(runner):
    def walk(inputs, params, bench):
        for step in range(10_000):
            bench.progress(step + 1, 10_000, unit="steps")
        return {}

    runner.run(Stage("walk", "1", walk), {}, Params(), task="t")
    told = [event for event in runner.events if isinstance(event, Advanced)]
    assert told[-1].done == 10_000
    assert len(told) < 100
    assert isinstance(runner.events[-1], Finished)


def test_each_run_leaves_an_entry_on_the_ledger(runner):
    number = runner.artifacts.put_bytes(b"6")
    for _ in range(2):
        runner.run(COUNT, {"number": number}, Params(7), task="t")
    entries = [entry for _, entry in read(runner.home / "ledger")]
    assert [(entry.stage, entry.hit) for entry in entries] == [("count", False), ("count", True)]


SLOW = """
    import pathlib, sys, time
    import msgspec
    from tokenworks.core.stage import Stage
    from tokenworks.ledger.writer import Ledger
    from tokenworks.line.run import Runner
    from tokenworks.store.artifacts import open_artifacts
    from tokenworks.store.catalog import open_catalog

    class Params(msgspec.Struct, frozen=True):
        pass

    def slow(inputs, params, bench):
        mark = bench.scratch / "steps"
        done = len(mark.read_text()) if mark.exists() else 0
        for step in range(done, 10):
            with mark.open("a") as file:
                file.write("s")
            print(step, flush=True)
            time.sleep(0.05)
        return {"steps": bench.artifacts.put_bytes(mark.read_bytes())}

    home = pathlib.Path(sys.argv[1])
    with Ledger(home / "ledger", sys.argv[2]) as ledger:
        runner = Runner(open_catalog(f"sqlite:///{home}/catalog.db"),
                        open_artifacts(str(home / "artifacts"), cache=home / "cache"), ledger, home)
        print(runner.run(Stage("slow", "1", slow), {}, Params(), task="t")["steps"], flush=True)
"""


def start(tmp_path, writer):
    command = [sys.executable, "-c", textwrap.dedent(SLOW), str(tmp_path), writer]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_stage_goes_on_from_its_scratch(tmp_path):
    with start(tmp_path, "a") as first:
        while first.stdout.readline().strip() != "4":
            pass
        os.kill(first.pid, signal.SIGKILL)
    with start(tmp_path, "a") as second:
        printed = second.stdout.read().split()
    assert printed[0] == "5"
    assert printed[-2] == "9"


def test_two_processes_that_want_the_same_result_work_once(tmp_path):
    with start(tmp_path, "a") as one:
        one.stdout.readline()
        with start(tmp_path, "b") as other:
            other_printed = other.stdout.read().split()
        one_printed = one.stdout.read().split()
    assert len(other_printed) == 1
    assert other_printed[-1] == one_printed[-1]
