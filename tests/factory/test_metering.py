"""A running server under a meter: what each request took, and what stands on the ledger in the end."""

import asyncio
import os
import threading
import time

import msgspec
import openai
import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.factory import Factory
from tokenworks.factory.plant import Plant
from tokenworks.ledger.entries import EnergyEntry, RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.views import stats
from tokenworks.settings import Settings

WATTS = 40.0


class Package:
    """A counter as the kernel shows it, that runs with the clock."""

    def __init__(self, root):
        self.zone = root / "intel-rapl:0"
        self.zone.mkdir(parents=True)
        (self.zone / "name").write_text("package-0\n")
        (self.zone / "max_energy_range_uj").write_text("262143328850\n")
        self.began_s, self.over = time.monotonic(), threading.Event()
        self.count()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def count(self):
        now_uj = round((time.monotonic() - self.began_s) * WATTS * 1e6)
        (self.zone / ".new").write_text(f"{now_uj}\n")
        os.replace(self.zone / ".new", self.zone / "energy_uj")

    def run(self):
        while not self.over.wait(0.005):
            self.count()

    def end(self):
        self.over.set()
        self.thread.join()


@pytest.fixture
def package(tmp_path):
    package = Package(tmp_path / "powercap")
    yield package
    package.end()


def metered(tmp_path, **meter):
    told = {"home": str(tmp_path / "home"), "server": {"port": 0}, "flywheel": {"look_s": 0}, "meter": meter}
    return Factory(msgspec.convert(told, Settings))


def ask(plant, model):
    """Ask in every way; return how many requests that were."""
    api = openai.OpenAI(base_url=f"{plant.url}/v1", api_key=plant.key, max_retries=8)
    said = {"model": model, "prompt": "the card", "max_tokens": 60, "extra_body": {"ignore_eos": True}}
    until_s = time.monotonic() + 1.5
    asked = 0
    while time.monotonic() < until_s or asked < 24:
        whole = api.completions.create(**said)
        assert whole.usage.model_dump()["spent"]["engine_s"] > 0
        list(api.completions.create(**said, stream=True))
        api.embeddings.create(model="minilm", input=["the card is lost", "help"])
        asked += 3
    broken = api.completions.create(**said | {"max_tokens": 240}, stream=True)
    next(iter(broken))
    broken.close()
    return asked + 1


def test_each_request_gets_its_joules_and_they_add_up_to_the_meter(tmp_path, package, tiny_llama):
    async def run(factory):
        async with Plant(factory) as plant:
            await plant.serve_folder(tiny_llama)
            await plant.opened
            asked = await asyncio.to_thread(ask, plant, tiny_llama.name)
            await asyncio.sleep(0.5)
            return asked

    with metered(tmp_path, source="rapl", interval_s=0.2, entry_s=0.4, powercap=str(package.zone.parent)) as factory:
        asked = asyncio.run(run(factory))
        entries = [entry for _, entry in read(factory.ledger_root)]
        requests = [entry for entry in entries if isinstance(entry, RequestEntry) and entry.status != 503]
        assert len(requests) >= asked
        assert all(entry.engine_s > 0 for entry in requests)
        known = [entry for entry in requests if entry.joules is not None]
        assert len(known) > len(requests) / 2  # the first come before a second of engine time has a price
        assert {(entry.meter, entry.joules > 0) for entry in known} == {("rapl", True)}
        assert {entry.meter for entry in requests if entry.joules is None} <= {"gap"}
        energy = [entry for entry in entries if isinstance(entry, EnergyEntry)]
        assert sum(entry.metered_j for entry in energy) == pytest.approx(
            WATTS * sum(entry.seconds for entry in energy), rel=0.02
        )
        for entry in energy:
            assert entry.requests_j + entry.other_j + entry.idle_j == pytest.approx(entry.metered_j, rel=1e-3)
        found = stats(factory.ledger_root)
        assert found.joules == pytest.approx(sum(entry.joules for entry in known))
        assert found.engine_s == pytest.approx(sum(entry.engine_s for entry in requests))
        # A stream that was broken off was told what it had taken up to then, and an entry rounds.
        assert abs(found.energy.unsettled_j) < 1e-3 * found.energy.metered_j + 0.5
        assert found.energy.idle_j > 0
    assert not list((tmp_path / "home" / "meter" / "engines").iterdir())


def test_a_server_whose_meter_is_not_there_does_not_start_and_says_why(tmp_path):
    async def run(factory):
        async with Plant(factory):
            pass

    with metered(tmp_path, source="rapl", powercap=str(tmp_path)) as factory, pytest.raises(ConfigError, match="RAPL"):
        asyncio.run(run(factory))
