"""Versions come and go under load, by real processes: no request fails, and each is answered by who was to answer."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file

from system.processes import Running
from tokenworks.core.ids import pseudonym
from tokenworks.core.model import ModelVersion, Release
from tokenworks.factory import Factory
from tokenworks.gateway.served import OnTrial, Served
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.verify import verify
from tokenworks.line.release.bom import ModelFacts
from tokenworks.line.release.register import register, seal

pytestmark = pytest.mark.timeout(300)
USERS = 8
OWNER = "mailto:team@example.org"


def version(factory: Factory, tiny_bert: Path, folder: Path, number: int) -> ModelVersion:
    """Register a classifier whose every class names its version; no engine can load number 4."""
    shutil.copytree(tiny_bert, folder)
    weight = np.random.default_rng(number).normal(0, 1, (2, 32)).astype(np.float32)
    save_file({"weight": weight, "bias": np.zeros(2, np.float32)}, folder / "head.safetensors")
    classes = [f"route@{number} {name}" for name in ("card", "money", "other")[: 3 if number == 4 else 2]]
    card = {"kind": "classify", "classes": classes, "base": "tiny", "description": "random"}
    (folder / "tokenworks.json").write_text(json.dumps(card))
    common = {"model": "route", "kind": "classify", "label": "public", "licence": "MIT", "owner": OWNER}
    facts = ModelFacts(**common, stage_key=f"s{number}")
    digest = factory.artifacts.put_folder(folder)
    sealed = seal(digest, facts, artifacts=factory.artifacts, key=factory.key, scratch=factory.home / "work")
    fresh = ModelVersion(**common, version=0, folder=sealed, base="", stage_key=f"s{number}", evaluation="")
    return register(fresh, catalog=factory.catalog, ledger=factory.ledger)


def answers_by(step: Release, user: str) -> str:
    """Return the version that answers `user` by `step`."""
    incumbent = f"route@{step.version}"
    if not step.canary or step.mode == "shadow":
        return incumbent
    candidate = Served(ref=f"route@{step.canary}", label="public", kind="classify")
    trial = OnTrial(id=step.id, candidate=candidate, share=step.share, mode="canary")
    return candidate.ref if trial.takes(pseudonym("default", user)) else incumbent


@dataclass
class Load:
    """Users who never stop asking, each one question after the other, while somebody releases."""

    api: httpx.AsyncClient
    steps: list[Release]
    seen: int = 0  # index of the newest step that an answer has shown to be in force
    asked: int = 0
    wrong: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    over: bool = False

    async def user(self, name: str) -> None:
        while not self.over:
            first = self.seen  # what was in force before the question
            self.asked += 1
            try:
                answer = await self.api.post("/classify", json={"model": "route", "input": "a card", "user": name})
                found = answer.headers["x-tokenworks-version"]
                label = answer.json()["data"][0]["label"]
            except (httpx.HTTPError, KeyError) as error:
                self.wrong.append(f"{name}: {error!r}")
                continue
            may = {answers_by(step, name) for step in self.steps[first:]}
            may |= {f"route@{step.version}" for step in self.steps[first:]}  # a cold candidate is not asked yet
            if found not in may or not label.startswith(found):
                self.wrong.append(f"{name}: {found} ({label}), not one of {may}")
            self.answered.add(found)
            self._learn(name, found)

    def _learn(self, name: str, found: str) -> None:
        """Where only the newest step can have led to an answer, no later question may be answered by an older one."""
        newest = len(self.steps) - 1
        older = {answers_by(step, name) for step in self.steps[self.seen : newest]}
        older |= {f"route@{step.version}" for step in self.steps[self.seen : newest]}
        if self.seen < newest and found == answers_by(self.steps[newest], name) and found not in older:
            self.seen = newest

    async def in_force(self) -> None:
        """Wait until the newest step is."""
        until = time.monotonic() + 60
        while self.seen < len(self.steps) - 1:
            assert time.monotonic() < until, f"{self.steps[-1]} never came into force; {self.wrong[:3]}"
            await asyncio.sleep(0.02)


class People:
    """Who releases, in a process of their own: the server only sees the catalog."""

    def __init__(self, factory: Factory, load: Load) -> None:
        self.factory, self.load = factory, load

    async def promote(self, number: int) -> None:
        await self._step(lambda: self.factory.promote(f"route@{number}", reason="under load"))

    async def back(self) -> None:
        await self._step(lambda: self.factory.rollback("route", reason="under load"))

    async def canary(self, number: int) -> None:
        begin = self.factory.begin_trial
        await self._step(lambda: begin(f"route@{number}", share=0.5, mode="canary", reason="under load"))

    async def end(self) -> None:
        await self._step(lambda: self.factory.end_trial("route", reason="under load"))

    async def _step(self, act) -> None:
        self.load.steps.append(await asyncio.to_thread(act))
        if self.load.steps[-1].canary or self.load.steps[-1].action == "end":
            await self._settled()
        else:
            await self.load.in_force()

    async def _settled(self) -> None:
        """A trial shows in the answers of its users alone; those of the incumbent go on."""
        until = time.monotonic() + 60
        step = self.load.steps[-1]
        wanted = f"route@{step.canary}" if step.canary else f"route@{step.version}"
        users = [f"user-{n}" for n in range(USERS)]
        trial = step if step.canary else self.load.steps[-2]
        on_trial = [user for user in users if answers_by(trial, user) != f"route@{trial.version}"]
        while on_trial and time.monotonic() < until:
            body = {"model": "route", "input": "a card", "user": on_trial[0]}
            answer = await self.load.api.post("/classify", json=body)
            if answer.headers["x-tokenworks-version"] == wanted:
                break
            await asyncio.sleep(0.02)
        self.load.seen = len(self.load.steps) - 1


def test_versions_come_and_go_under_load_and_no_request_fails(tiny_bert, tmp_path):
    with Factory(home=tmp_path / "home") as factory:
        for number in (1, 2, 3, 4):
            version(factory, tiny_bert, tmp_path / str(number), number)
        first = factory.promote("route@1", reason="a beginning")
        running = Running(tmp_path / "home", "serve")
        try:
            load = asyncio.run(releasing(factory, running, first))
        finally:
            running.stop()
        entries = [entry for _, entry in read(factory.ledger_root) if isinstance(entry, RequestEntry)]
        assert load.wrong == []
        assert load.answered == {"route@1", "route@2", "route@3"}
        ours = [entry for entry in entries if entry.model == "route" and entry.user]
        assert {entry.outcome for entry in ours} == {"ok"}
        assert len(ours) >= load.asked
        assert {entry.arm for entry in ours} == {"", "incumbent", "canary"}
        assert verify(factory.ledger_root).ok


async def releasing(factory: Factory, running: Running, first: Release) -> Load:
    headers = {"authorization": f"Bearer {running.key}"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30) as api:
        await began(api)
        load = Load(api, [first])
        users = [asyncio.create_task(load.user(f"user-{number}")) for number in range(USERS)]
        people = People(factory, load)
        try:
            for _ in range(2):
                await people.canary(2)
                await people.end()
                await people.canary(2)
                await people.promote(2)  # the trial was won
                await people.promote(3)  # and this one by hand
                await people.canary(1)
                await people.back()  # ends the trial
                await people.back()
                await people.back()
            await refused(people, api)
        finally:
            load.over = True
            await asyncio.gather(*users)
    return load


async def began(api: httpx.AsyncClient) -> None:
    until = time.monotonic() + 60
    while (await api.post("/classify", json={"model": "route", "input": "a card"})).status_code != 200:
        assert time.monotonic() < until, "nothing answers"
        await asyncio.sleep(0.1)


async def refused(people: People, api: httpx.AsyncClient) -> None:
    """Release what no engine can load: the version before goes on, and the operator sees why."""
    people.load.steps.append(await asyncio.to_thread(people.factory.promote, "route@4", reason="nobody looked"))
    until = time.monotonic() + 60
    while True:
        engines = msgspec.json.decode((await api.get("/readyz")).content)["engines"]
        if engines.get("route@4", {}).get("state") == "failed":
            break
        assert time.monotonic() < until, str(engines)
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    people.load.steps.append(await asyncio.to_thread(people.factory.rollback, "route", reason="it does not start"))
