"""A running server that asks another one, as vLLM is from outside: what its requests took, by that host's meter."""

import asyncio
import itertools
import json
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import httpx
import msgspec
import openai
import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.factory import Factory
from tokenworks.factory.plant import Plant
from tokenworks.ledger.entries import EnergyEntry, FarEnergyEntry, RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.views import stats
from tokenworks.settings import Settings

NUMBERS = itertools.count()
ASKED_S = 3.5  # how long callers ask in the first test
STAND_IN = Path(__file__).with_name("vllm_stand_in.py")


class StandIn:
    """Its process."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, str(STAND_IN)], stdout=subprocess.PIPE)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as answer:
            return json.loads(answer.read())

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def vllm():
    stand_in = StandIn()
    yield stand_in
    stand_in.end()


def metered(tmp_path, vllm, **changes):
    meter = {"source": "wall", "url": f"{vllm.url}/meter", "field": "total", "unit": "J", "interval_s": 0.2}
    meter |= {"entry_s": 0.4, "idle_w": 50.0}
    there = {"name": "there", "url": f"{vllm.url}/v1", "model": "m", "region": "eu", "label": "restricted"}
    there |= {"metrics_url": f"{vllm.url}/metrics", "meter": meter, **changes}
    told = {
        "home": str(tmp_path / "home"),
        "server": {"port": 0},
        "flywheel": {"look_s": 0},
        "engines": {"remotes": [there]},
        "routes": {"afar": {"order": ["there"]}},
    }
    return Factory(msgspec.convert(told, Settings))


def ask_in_threads(url, key, seconds, *, model, name):
    """Ask, three at once, whole and streamed, for some time; return how many answers there were."""
    until_s, done = time.monotonic() + seconds, []

    def one(number):
        api = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=8)
        while time.monotonic() < until_s:
            said = {"model": model, "prompt": "word " * (20 + 300 * number), "max_tokens": 20 + 10 * number}
            said["user"] = f"{name}-{next(NUMBERS)}"
            if number % 2:
                list(api.completions.create(**said, stream=True))
            else:
                assert api.completions.create(**said).usage.completion_tokens == 20 + 10 * number
            done.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done)


def run(factory, work):
    async def running():
        async with Plant(factory) as plant:
            await asyncio.sleep(0.5)
            found = await asyncio.to_thread(work, plant)
            await asyncio.sleep(0.5)
            return found

    return asyncio.run(running())


def test_requests_of_a_remote_vllm_carry_joules_and_everything_adds_up_to_its_hosts_meter(tmp_path, vllm):
    def work(plant):
        first = ask_in_threads(plant.url, plant.key, ASKED_S - 1.5, model="afar", name="ours")
        others = threading.Thread(
            target=ask_in_threads, args=(vllm.url, "none", 1.5), kwargs={"model": "m", "name": "theirs"}
        )
        others.start()
        second = ask_in_threads(plant.url, plant.key, 1.5, model="afar", name="ours")
        others.join()
        return first + second

    with metered(tmp_path, vllm) as factory:
        asked = run(factory, work)
        exact = vllm.get("/exact")
        entries = [entry for _, entry in read(factory.ledger_root)]
        requests = [entry for entry in entries if isinstance(entry, RequestEntry)]
        assert len(requests) == asked
        known = [entry for entry in requests if entry.joules is not None]
        assert {entry.meter for entry in known} == {"coarse-wall"}
        assert {entry.meter for entry in requests if entry.joules is None} <= {"gap"}
        assert len(known) > 0.5 * asked  # the first come before an interval with work in it is over
        assert all(entry.engine_s > 0 and entry.joules > 0 and entry.joules_error > 0 for entry in known)

        far = [entry for entry in entries if isinstance(entry, FarEnergyEntry)]
        assert {(entry.server, entry.meter) for entry in far} == {("there", "coarse-wall")}
        for entry in far:
            parts_j = entry.requests_j + entry.foreign_j + entry.idle_j + entry.other_j
            assert parts_j == pytest.approx(entry.metered_j, rel=1e-3)
        found = stats(factory.ledger_root)
        there = found.elsewhere["there"]
        assert there.metered_j == pytest.approx(sum(entry.metered_j for entry in far))
        assert there.requests_j + there.foreign_j + there.idle_j + there.other_j == pytest.approx(there.metered_j)
        assert found.joules == pytest.approx(sum(entry.joules for entry in known))
        assert found.energy is None  # this machine has no meter
        assert there.idle_j > 0

        ours_s = sum(seconds for name, seconds in exact.items() if name.startswith("ours"))
        theirs_s = sum(seconds for name, seconds in exact.items() if name.startswith("theirs"))
        # While it is asked, the engine counts as busy: on a machine with much else to do it is asked for longer.
        assert 0.6 * ours_s <= there.engine_s <= ours_s + ASKED_S
        assert 0.2 * theirs_s <= there.foreign_s <= theirs_s + ASKED_S
        assert there.foreign_completion_tokens > 0
        assert abs(there.unsettled_j) < there.requests_j  # what it takes to learn from, in a few seconds
        assert not any(isinstance(entry, EnergyEntry) for entry in entries)


def test_a_vllm_that_dies_gives_gaps_and_never_a_wrong_sum(tmp_path, vllm):
    def work(plant):
        ask_in_threads(plant.url, plant.key, 1.2, model="afar", name="ours")
        vllm.end()
        time.sleep(1.0)
        answer = httpx.post(
            f"{plant.url}/v1/completions",
            json={"model": "afar", "prompt": "word", "max_tokens": 5},
            headers={"authorization": f"Bearer {plant.key}"},
            timeout=30,
        )
        assert answer.status_code >= 500

    with metered(tmp_path, vllm) as factory:
        run(factory, work)
        far = [entry for _, entry in read(factory.ledger_root) if isinstance(entry, FarEnergyEntry)]
        assert "cannot be asked" in far[-1].because
        there = stats(factory.ledger_root).elsewhere["there"]
        assert there.requests_j + there.foreign_j + there.idle_j + there.other_j == pytest.approx(there.metered_j)
        assert there.requests_j > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meter": {}}, "needs the meter of that host"),
        ({"metrics_url": ""}, "a meter needs metrics_url"),
        ({"metrics_url": "ftp://there/metrics"}, "not an http"),
        ({"metrics_url": "http://me:secret@there/metrics"}, "no user"),
        ({"meter": {"source": "model", "idle_w": 90.0, "busy_w": 80.0}}, "power of that host"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_at_the_start(tmp_path, changes, message):
    class Nowhere:
        url = "http://127.0.0.1:9"

    with metered(tmp_path, Nowhere, **changes) as factory, pytest.raises(ConfigError, match=message):
        run(factory, lambda plant: None)
