"""A process that is to die with its parent does, however the parent ends; one that is to give way does."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

CHILD = """
import os, time
from tokenworks.core.process import die_with
die_with(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {CHILD!r}])\ntime.sleep(60)"


def test_killed_with_its_parent():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        end = time.monotonic() + 30
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
            time.sleep(0.05)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_ended_at_once_when_the_parent_is_gone_already():
    code = "from tokenworks.core.process import die_with\ndie_with(1 << 22)\nprint('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == ""


SHOW = """
import os, pathlib
group = pathlib.Path("/proc/self/autogroup")
print(os.sched_getscheduler(0) == os.SCHED_IDLE, os.nice(0), group.read_text().split()[-1] if group.exists() else 19)
"""
AS_PARENT = f"from tokenworks.core.process import yield_as_parent\nyield_as_parent()\n{SHOW}"
YIELDS = "from tokenworks.core.process import yield_to_traffic\nyield_to_traffic()\n"
STARTS = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {AS_PARENT!r}], start_new_session=True)"
can_idle = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this kernel has no SCHED_IDLE")


def said(code: str, *, session: bool) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, start_new_session=session
    )
    return done.stdout.split()


@can_idle
@pytest.mark.parametrize("session", [True, False])
@pytest.mark.parametrize("then", [SHOW, STARTS], ids=["itself", "what-it-starts"])
def test_who_yields_ranks_last_in_its_session_and_its_session_last_of_all(then, session):
    assert said(YIELDS + then, session=session) == ["True", "19", "19"]


@can_idle
def test_who_was_started_by_a_process_that_does_not_yield_keeps_its_rank():
    assert said(AS_PARENT, session=True) == said(SHOW, session=True)
    assert said(AS_PARENT, session=True)[0] == "False"
