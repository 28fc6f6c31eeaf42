"""`doctor --prove`: the promises put to the test, end to end, in a throw-away home."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from tokenworks.core.errors import TokenworksError
from tokenworks.core.task import Task, TaskCheck, TaskData, TaskHead, TaskModel
from tokenworks.factory import Factory
from tokenworks.factory.doctor import Finding
from tokenworks.factory.engines import engine_options
from tokenworks.factory.plant import Plant
from tokenworks.factory.probe import post, probe
from tokenworks.ledger.verify import verify
from tokenworks.line.release.inspect import verify_folder
from tokenworks.serving.conversion.check import verify_roundtrip
from tokenworks.settings import Settings

BUDGET = "20k tokens"  # enough for a model that loads and answers; nothing is judged on its quality
WATCH_EVERY_S = 0.05


def prove() -> list[Finding]:
    """Run the self-test; return one finding for each promise. Takes about a minute; leaves nothing behind."""
    home = Path(tempfile.mkdtemp(prefix="tokenworks-prove-"))
    try:
        settings = msgspec.convert({"home": str(home), "server": {"port": 0}}, Settings)
        with Factory(settings, role="gateway") as factory:
            return asyncio.run(_prove(factory))
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _prove(factory: Factory) -> list[Finding]:
    egress: set[str] = set()
    watching = asyncio.create_task(_watch(egress))
    async with Plant(factory) as plant:
        findings = [
            await _check("authentication", "a request without a key is refused", lambda: _no_key(plant)),
            await _check("authentication", "a request with a wrong key is refused", lambda: _wrong_key(plant)),
            await _check("line", "a model is pretrained, judged, signed and registered", lambda: _make(factory)),
        ]
        plant.new_release()
        findings += [
            await _check("serving", "the model answers and the answer is on the ledger", lambda: _ask(factory, plant)),
            await _check("template", "the served model has the same tokens and template", lambda: _round_trip(factory)),
            await _check("signature", "a changed model folder is refused", lambda: _tamper(factory)),
            await _check("ledger", "every entry verifies", lambda: _verify(factory)),
        ]
    watching.cancel()
    where = ", ".join(sorted(egress))
    state = "wrong" if egress else "ok"
    says = f"connections left this machine: {where}" if egress else "no connection left this machine"
    return [*findings, Finding(name="egress", state=state, says=says)]


async def _check(name: str, promise: str, test: Callable[[], str]) -> Finding:
    """Return the finding of `test`, which returns what went wrong, or nothing."""
    try:
        problem = await asyncio.to_thread(test)
    except TokenworksError as error:
        problem = str(error)
    return Finding(name=name, state="wrong" if problem else "ok", says=f"{promise}: {problem}" if problem else promise)


def _no_key(plant: Plant) -> str:
    status, _, _ = post(plant.url, "/v1/embeddings", {"model": "minilm", "input": "x"}, "")
    return "" if status == 401 else f"it was answered with {status}"


def _wrong_key(plant: Plant) -> str:
    status, _, _ = post(plant.url, "/v1/embeddings", {"model": "minilm", "input": "x"}, plant.key[:-1] + "~")
    return "" if status == 401 else f"it was answered with {status}"


def _make(factory: Factory) -> str:
    """Run the line on the package's own sources; the gate may refuse so small a model, so it is released by hand."""
    source = str(Path(__file__).parents[1])
    task = Task(
        task=TaskHead(name="proof", kind="complete", owner="mailto:doctor@localhost", label="restricted"),
        data=TaskData(sources=(source,), include=("*.py",)),
        model=TaskModel(base="from-scratch", budget=BUDGET),
        check=TaskCheck(held_out=0.1),
    )
    outcome = factory.make(task)
    if not outcome.released:
        factory.promote(outcome.version.ref, reason="self-test")
    return ""


def _ask(factory: Factory, plant: Plant) -> str:
    return "; ".join(probe(plant.url, plant.key, "proof", "complete", factory.ledger_root))


def _round_trip(factory: Factory) -> str:
    folder = factory.artifacts.folder(factory.version("proof").folder)
    found = verify_roundtrip(folder, engine_options(factory.settings, factory.home))
    return "" if found.ok else "; ".join(found.remarks)


def _tamper(factory: Factory) -> str:
    folder = factory.artifacts.folder(factory.version("proof").folder)
    copy = factory.home / "tampered"
    shutil.copytree(folder, copy)
    target = copy / "config.json"
    target.chmod(0o644)
    target.write_bytes(target.read_bytes() + b" ")
    try:
        verify_folder(copy, factory.key.public)
    except TokenworksError:
        return ""
    return "it was accepted"


def _verify(factory: Factory) -> str:
    return "; ".join(str(problem) for problem in verify(factory.ledger_root).problems)


async def _watch(egress: set[str]) -> None:
    """Collect the addresses beyond this machine that any process of ours talks to."""
    ours = psutil.Process()
    while True:
        for process in (ours, *ours.children(recursive=True)):
            try:
                connections = process.net_connections(kind="inet")
            except psutil.Error:  # it ended while we looked
                continue
            egress.update(
                f"{one.raddr.ip}:{one.raddr.port}"
                for one in connections
                if one.raddr and not one.raddr.ip.startswith("127.") and one.raddr.ip != "::1"
            )
        await asyncio.sleep(WATCH_EVERY_S)
