"""A real server in a process of its own, with tiny models as bases, and the official client on it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import msgspec
import openai
import psutil

from factory.banking import questions
from patience import until
from tokenworks.core.ids import sha256_hex
from tokenworks.core.model import ModelVersion, Release
from tokenworks.factory import Factory
from tokenworks.factory.base import release_folder
from tokenworks.factory.erasing import erase
from tokenworks.factory.reach import target_of
from tokenworks.governance.grants import Rights
from tokenworks.governance.keys import SHOWN
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.settings import load_settings

SERVER = """
import asyncio, os, signal, sys
from tokenworks.core.process import die_with
from tokenworks.factory import Factory
from tokenworks.factory.plant import Plant

die_with(int(sys.argv[2]))

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with Factory(home=sys.argv[1]) as factory:
        async with Plant(factory) as plant:
            print(plant.url, flush=True)
            log = os.open("server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)  # nobody reads the pipe from here on: once full, it would hold the server up
            os.dup2(log, 2)
            await stop.wait()

asyncio.run(main())
"""
TOML = """
[server]
port = 0
[line]
threads = 1
[engines]
precision = "f32"
[platform]
max_file_mb = 4
job_budget = "2s"
job_niceness = 0
"""


class Server:
    """A home with a server that can be killed and begun again."""

    toml = TOML
    environment: Mapping[str, str] = {}

    def __init__(self, folder: Path, bases: list[Path]) -> None:
        self.folder = folder
        self.home = folder / "home"
        (folder / "tokenworks.toml").write_text(self.toml)
        settings = load_settings(folder / "tokenworks.toml", environ={}, home=self.home)
        with Factory(settings) as factory:
            for base in bases:
                release_folder(factory, base)
        self.begin()

    def begin(self) -> None:
        words = [sys.executable, "-c", SERVER, str(self.home), str(os.getpid())]
        environment = {**os.environ, **self.environment}
        self.process = subprocess.Popen(words, cwd=self.folder, stdout=subprocess.PIPE, text=True, env=environment)
        self.url = self.process.stdout.readline().strip()
        self.key = (self.home / "api-key").read_text().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.process.stdout.close()

    def client(self, key: str = "") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key or self.key, max_retries=3, timeout=120)

    def warm(self, model: str) -> None:
        """Return when the engine of `model` answers: clients without retries are refused while it starts."""
        words = {"model": model, "input": "hello"}
        headers = {"authorization": f"Bearer {self.key}"}
        until(lambda: httpx.post(f"{self.url}/v1/embeddings", json=words, headers=headers, timeout=60).is_success)

    def new_key(self, tenant: str, **options) -> str:
        with Factory(home=self.home, role="tests") as factory:
            return factory.keys.create(tenant, **options)[0]

    def new_grant(self, key: str, *, task: str, models: tuple[str, ...]) -> str:
        with Factory(home=self.home, role="tests") as factory:
            return factory.new_grant(key[:SHOWN], Rights(task=task, lasts_s=3600.0, models=models))[0]

    def revoke(self, key: str) -> None:
        with Factory(home=self.home, role="tests") as factory:
            factory.keys.revoke(key[:SHOWN])

    def erase(self, request_id: str) -> None:
        with Factory(home=self.home, role="tests") as factory:
            erase(factory, target_of(request=request_id), by="tests")

    def has(self, data: bytes) -> bool:
        with Factory(home=self.home, role="tests") as factory:
            return factory.artifacts.has(sha256_hex(data))

    def versions(self, model: str) -> list[ModelVersion]:
        with Factory(home=self.home, role="tests") as factory:
            return factory.catalog.models.of(model)

    def kill_trainer(self, job: str) -> None:
        """Kill the process that works on `job`, once there is one."""
        [found] = until(lambda: self.works_on(job))
        found.kill()

    def works_on(self, job: str) -> list[psutil.Process]:
        """Return the processes that work on `job`."""
        return [one for one in psutil.Process(self.process.pid).children() if job in _words(one)]

    def releases(self) -> list[Release]:
        with Factory(home=self.home, role="tests") as factory:
            return factory.catalog.releases.all_current()

    def requests(self) -> list[RequestEntry]:
        return [entry for _, entry in read(self.home / "ledger") if isinstance(entry, RequestEntry)]

    def version(self, alias: str) -> ModelVersion | None:
        with Factory(home=self.home, role="tests") as factory:
            current = factory.catalog.releases.current(alias)
            return current and factory.catalog.models.get(current.model, current.version)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return []


def name_of(server: Server, part: str) -> str:
    """Return the name of the base that has `part` in it."""
    return next(one.id for one in server.client().models.list() if part in one.id and not one.id.startswith("ft-"))


def lines(rows) -> bytes:
    return msgspec.json.Encoder().encode_lines(rows)


def bank_rows(count: int = 300, seed: int = 0) -> list[dict]:
    """Return rows as OpenAI's fine-tuning format has them."""
    return [
        {"messages": [{"role": "user", "content": one["text"]}, {"role": "assistant", "content": one["label"]}]}
        for one in questions(count, seed=seed)
    ]


def ended(client: openai.OpenAI, job: str):
    """Wait for the end of a job."""
    over = ("succeeded", "failed", "cancelled")
    return until(lambda: (found := client.fine_tuning.jobs.retrieve(job)).status in over and found)
