"""Starting, watching, restarting and ending real processes that behave as badly as engines can."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tokenworks.core.errors import EngineError
from tokenworks.serving.child import spawn
from tokenworks.serving.supervisor import NotReadyError, Policy, Supervisor

SERVER = """
import http.server, json, os, signal, sys, threading
class Health(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        sick = os.path.exists(sys.argv[1] + "/sick")
        self.send_response(503 if sick else 200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health)
signal.signal(signal.SIGTERM, lambda *a: os._exit(0))
print("warming up", file=sys.stderr, flush=True)
print(json.dumps({"port": server.server_port, "pid": os.getpid(), "does": ["completions"], "load_s": 0.1}), flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
server.serve_forever()
"""
QUICK = Policy(first_pause_s=0.02, longest_pause_s=0.05, give_up_after=3, retry_failed_s=0.2, health_every_s=0.05)
Start = Callable[..., Supervisor]


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], bool], timeout_s: float = 50.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[Supervisor] = []

    def begin(command: list[str], policy: Policy = QUICK) -> Supervisor:
        supervisor = Supervisor("test@1", command, policy)
        started.append(supervisor)
        supervisor.start()
        return supervisor

    yield begin
    for supervisor in started:
        await supervisor.stop(1.0)


async def test_a_ready_engine_answers_and_says_what_it_does(start: Start, tmp_path: Path) -> None:
    supervisor = start(python(SERVER, str(tmp_path)))
    upstream = await supervisor.ready(10)
    response = await upstream.request("GET", "/health")
    assert response.status == 200
    assert (supervisor.status.state, supervisor.status.does) == ("ready", ("completions",))


async def test_a_killed_engine_is_started_again(start: Start, tmp_path: Path) -> None:
    supervisor = start(python(SERVER, str(tmp_path)))
    await supervisor.ready(10)
    first = supervisor.status.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervisor.status.restarts == 1)
    await supervisor.ready(10)
    assert supervisor.status.pid not in (0, first)
    assert "signal 9" in supervisor.status.error


async def test_an_engine_that_fails_its_health_check_is_replaced(start: Start, tmp_path: Path) -> None:
    supervisor = start(python(SERVER, str(tmp_path)))
    await supervisor.ready(10)
    first = supervisor.status.pid
    (tmp_path / "sick").touch()
    await until(lambda: supervisor.status.restarts > 0)
    (tmp_path / "sick").unlink()
    await until(lambda: supervisor.status.state == "ready" and supervisor.status.pid != first)
    assert not alive(first)


async def test_callers_are_told_to_come_back_while_an_engine_starts(start: Start) -> None:
    supervisor = start(python("import time; time.sleep(60)"))
    with pytest.raises(NotReadyError, match="is starting") as raised:
        await supervisor.ready(0.05)
    assert raised.value.retry_after_s > 0


async def test_an_engine_that_cannot_start_is_given_up_with_its_last_words(start: Start) -> None:
    supervisor = start(python("import sys; print('no such model: /nowhere', file=sys.stderr); sys.exit(5)"))
    with pytest.raises(EngineError, match=r"(?s)failed 3 times in a row.*status 5.*no such model: /nowhere"):
        await supervisor.ready(10)
    assert supervisor.status.state == "failed"


async def test_a_given_up_engine_is_tried_again_later(start: Start, tmp_path: Path) -> None:
    script = "import os, sys\nif not os.path.exists(sys.argv[1] + '/mended'): sys.exit(5)\n" + SERVER
    supervisor = start(python(script, str(tmp_path)))
    await until(lambda: supervisor.status.state == "failed")
    (tmp_path / "mended").touch()
    await until(lambda: supervisor.status.state == "ready")


async def test_stopping_leaves_no_process(start: Start, tmp_path: Path) -> None:
    supervisor = start(python(SERVER, str(tmp_path)))
    await supervisor.ready(10)
    pid = supervisor.status.pid
    await supervisor.stop(5)
    assert not alive(pid)
    with pytest.raises(EngineError, match="was stopped"):
        await supervisor.ready(1)


async def test_an_engine_deaf_to_politeness_is_ended_by_force(start: Start, tmp_path: Path) -> None:
    deaf = SERVER.replace("lambda *a: os._exit(0)", "signal.SIG_IGN")
    supervisor = start(python(deaf, str(tmp_path)))
    await supervisor.ready(10)
    pid = supervisor.status.pid
    await supervisor.stop(0.1)
    assert not alive(pid)


async def test_stopping_while_it_starts_leaves_no_process(start: Start, tmp_path: Path) -> None:
    script = "import os, sys, time; open(sys.argv[1] + '/pid', 'w').write(str(os.getpid())); time.sleep(60)"
    supervisor = start(python(script, str(tmp_path)))
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    await supervisor.stop(1)
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_an_engine_that_is_never_ready_is_ended_in_time() -> None:
    with pytest.raises(EngineError, match=r"not ready within 0\.3 s; raise engines\.start_timeout_s"):
        await spawn(python("import time; time.sleep(60)"), start_timeout_s=0.3)


@pytest.mark.parametrize("line", ["hello", '{"port": "x"}', "[]", "{"])
async def test_a_ready_line_that_is_none_is_shown(line: str) -> None:
    with pytest.raises(EngineError, match="instead of a ready line"):
        await spawn(python(f"import time; print({line!r}, flush=True); time.sleep(60)"), start_timeout_s=10)


async def test_a_program_that_does_not_exist_is_named() -> None:
    with pytest.raises(EngineError, match="/no/such/program cannot be started"):
        await spawn(["/no/such/program"], start_timeout_s=1)


async def test_an_engine_that_talks_much_is_never_blocked_by_its_pipes(tmp_path: Path) -> None:
    talk = "print('x' * 3_000_000, file=sys.stderr); print('y' * 3_000_000); open(sys.argv[1] + '/said', 'w')"
    loud = SERVER.replace("server.serve_forever()", f"{talk}; server.serve_forever()")
    child = await spawn(python(loud, str(tmp_path)), start_timeout_s=10)
    await until(lambda: (tmp_path / "said").exists())
    await child.stop(2)
    assert len(child.tail) < 10_000


def test_pauses_grow_to_a_bound_and_end_in_long_ones() -> None:
    policy = Policy(first_pause_s=1, longest_pause_s=5, give_up_after=6, retry_failed_s=60)
    assert [policy.pause_s(n) for n in range(1, 8)] == [1, 2, 4, 5, 5, 60, 60]
