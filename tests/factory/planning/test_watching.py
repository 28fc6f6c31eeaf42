"""A claim about joules under a counter that the test turns: what is above idle is told, and doubts are."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
from contextlib import contextmanager

import msgspec
import pytest

from tokenworks.factory.planning.asking import _usage
from tokenworks.factory.planning.claiming import try_claim
from tokenworks.factory.planning.joules import by_meter, per_token
from tokenworks.factory.planning.watching import Idle, Round, Taken, Watch, idle_of, is_here, why_not
from tokenworks.metering.opening import Meter
from tokenworks.metering.source import MeterError, Sample
from tokenworks.planning.claims.claim import Claim, Conditions, Figures, Rule, Run
from tokenworks.planning.tables import read_tables
from tokenworks.settings import Settings

IDLE_W, TOKEN_J = 30.0, 0.5


class Counter:
    """A source that counts idle power by the clock and every answered token."""

    grade, error, by_processor = "rapl", 0.05, False

    def __init__(self):
        self.tokens, self.began_s, self.gone = 0, time.monotonic(), False

    def read(self):
        if self.gone:
            raise MeterError("the plug does not answer")
        return [Sample("all", IDLE_W * (time.monotonic() - self.began_s) + TOKEN_J * self.tokens)]

    def close(self):
        pass


def watch(counter, **changes):
    return Watch(Meter({"rapl": counter}, most_w=1e6, **changes), "rapl")


async def _work(counter, tokens=100, seconds=0.2):
    await asyncio.sleep(seconds)
    counter.tokens += tokens


def test_what_is_above_idle_is_what_the_tokens_took():
    counter = Counter()

    async def run():
        async with watch(counter) as watched:
            looks = [await watched.idle(0.2)]
            for _ in range(3):
                _, taken = await watched.over(_work(counter))
                watched.rounds.append(Round(taken, 100))
            return watched, [*looks, await watched.idle(0.2)]

    watched, looks = asyncio.run(run())
    idle = idle_of(looks, 0.0, watched.meter.error)
    assert idle.watts == pytest.approx(IDLE_W, rel=0.02)
    assert per_token(watched.rounds, idle) == pytest.approx([TOKEN_J] * 3, rel=0.05)
    known = by_meter(watched, idle)
    assert 0.05 <= known.error < 0.1
    assert "grade rapl" in known.how
    assert "as measured before and after" in known.how


def test_a_meter_that_vanishes_is_named_and_gives_no_figure():
    counter = Counter()

    async def run():
        async with watch(counter) as watched:
            for _ in range(2):
                counter.gone = True
                _, taken = await watched.over(_work(counter))
                watched.rounds.append(Round(taken, 100))
            return watched

    watched = asyncio.run(run())
    assert [one.taken.joules for one in watched.rounds] == [None, None]
    assert by_meter(watched, Idle(IDLE_W, 1.0, "")) == "the meter: the plug does not answer"


def test_a_counter_that_does_not_move_within_a_round_asks_for_longer_ones():
    counter = Counter()
    counter.read = lambda: [Sample("all", 5.0)]

    async def run():
        async with watch(counter) as watched:
            return (await watched.over(_work(counter)))[1]

    assert "moves too seldom" in asyncio.run(run()).because


def test_work_that_idle_power_hides_is_not_told():
    watched = watch(Counter())
    watched.rounds = [Round(Taken(1.0, 31.0), 100)] * 3
    found = by_meter(watched, Idle(30.0, 2.0, ""))
    assert "cannot be told from that" in found


def test_idle_power_is_measured_else_as_calibrated_else_unknown():
    seen = idle_of([Taken(2.0, 60.0), Taken(2.0, 80.0)], 10.0, 0.05)
    assert (seen.watts, seen.error_w) == (35.0, 5.0)
    assert idle_of([Taken(2.0, None, "gap")], 10.0, 0.05) == Idle(10.0, 0.5, "as calibrated")
    assert idle_of([], 0.0, 0.05) is None


def settings(home, **meter):
    return msgspec.convert({"home": str(home), "meter": meter}, Settings)


def test_only_a_meter_that_sees_who_answers_counts(tmp_path):
    here, far = Run(address="http://127.0.0.1:1"), Run(address="http://192.0.2.1:1")
    rapl, wall = settings(tmp_path, source="rapl"), settings(tmp_path, source="wall")
    assert why_not(here, rapl) == why_not(Run(folder="m"), rapl) == ""
    assert "no meter is configured" in why_not(here, settings(tmp_path))
    assert "does not see the one at 192.0.2.1" in why_not(far, rapl)
    assert "run.metered = true" in why_not(far, wall)
    metered = msgspec.structs.replace(far, metered=True)
    assert why_not(metered, wall) == ""
    assert "does not see" in why_not(metered, rapl)
    assert is_here("http://localhost:1")
    assert not is_here("http://192.0.2.1")


STREAM = b'HTTP/1.1 200 OK\r\n\r\ndata: {"usage": %s}\n\n'


@pytest.mark.parametrize(
    ("spent", "joules"),
    [({"joules": 2.0, "meter": "rapl"}, 2.0), ({"joules": -1}, None), ({"joules": "2"}, None), (None, None), (3, None)],
)
def test_what_a_server_tells_of_joules_is_believed_where_it_can_be_meant(spent, joules):
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "spent": spent}
    assert _usage(STREAM % json.dumps(usage).encode(), "u")[1].joules == joules


@contextmanager
def answering(powercap, tokens_per_s=400.0):
    """A server that answers after a while, and whose machine's counter moves with every token that it says."""
    powercap.mkdir()
    zone = powercap / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    began_s, said, over = time.monotonic(), [0], threading.Event()

    def count():
        while not over.wait(0.005):
            now_j = IDLE_W * (time.monotonic() - began_s) + TOKEN_J * said[0]
            (zone / ".new").write_text(f"{round(now_j * 1e6)}\n")
            os.replace(zone / ".new", zone / "energy_uj")

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        asked = json.loads(await reader.readexactly(length))
        for _ in range(asked["max_tokens"]):
            await asyncio.sleep(1 / tokens_per_s)
            said[0] += 1
        usage = {"prompt_tokens": len(asked["prompt"].split()), "completion_tokens": asked["max_tokens"]}
        writer.write(STREAM % json.dumps(usage).encode())
        await writer.drain()
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    threads = [threading.Thread(target=one, daemon=True) for one in (count, loop.run_forever)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    over.set()
    loop.call_soon_threadsafe(loop.stop)
    for thread in threads:
        thread.join()
    server.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_claims_about_joules_are_judged_by_the_counter_less_idle(tmp_path):
    with answering(tmp_path / "powercap") as url:
        for claimed, verdict in ((0.7, "confirmed"), (0.3, "not confirmed")):
            claim = Claim(
                name="n",
                claim=Figures(joules_per_token=claimed),
                conditions=Conditions(model="m", concurrency=2, prompt_tokens=20, answer_tokens=40),
                run=Run(address=url),
                rule=Rule(rounds=(3, 4), idle_s=0.3, interval=0.5),
            )
            house = settings(tmp_path, source="rapl", powercap=str(tmp_path / "powercap"))
            report = try_claim(claim, read_tables(), house)
            (figure,) = report.figures
            assert figure.measured.mean == pytest.approx(TOKEN_J, rel=0.1)
            assert figure.measured.low < TOKEN_J < figure.measured.high
            assert (report.verdict, figure.verdict) == (verdict, verdict)
            assert "by the meter rapl (grade rapl, standard uncertainty" in figure.because
            assert "with idle power it is" in report.explained[-1]
            assert not math.isnan(figure.measured.high)
        blind = try_claim(claim, read_tables(), settings(tmp_path))
    assert blind.verdict == "not comparable"
    assert blind.figures[0].because == (
        "the server's answers carry no joules, and no meter is configured here ([meter] source)"
    )
