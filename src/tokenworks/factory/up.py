"""`up`: serve at once, run the line beside it in a process of its own, and say what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.files import write_atomic
from tokenworks.core.notify import notify, reloading
from tokenworks.core.task import Task, read_task
from tokenworks.example.stdlib import write_example
from tokenworks.factory import Factory
from tokenworks.factory.fleet import Plan
from tokenworks.factory.plant import Plant
from tokenworks.factory.trying import try_out
from tokenworks.line.events import AnyEvent, Finished, Listener, Said
from tokenworks.settings import notify_socket

DOCS_TASK = """\
# A small causal model, pretrained from scratch on the documents given to `up --docs`.
[task]
name = "complete"
kind = "complete"
owner = "{owner}"
label = "confidential"

[data]
sources = [{sources}]

[model]
base = "from-scratch"
budget = "{budget}"

[check]
metric = "bits_per_byte"
held_out = 0.05
"""


@dataclass(frozen=True)
class Wish:
    """What `up` was asked for."""

    docs: Path | None = None
    tasks: tuple[Path, ...] = ()
    model: Path | None = None
    owner: str = ""
    budget: str = "3m"
    once: bool = False
    line: bool = True
    plan: Plan | None = None  # workers, where not this process alone answers


def task_files(wish: Wish, home: Path) -> list[Path]:
    """Return the task files to run, writing those of the default example where nothing else was wished for."""
    if wish.tasks:
        return list(wish.tasks)
    if wish.docs is not None:
        if not wish.docs.exists():
            raise ConfigError(f"--docs {wish.docs}: there is no such file or folder")
        source = msgspec.json.encode(str(wish.docs.resolve())).decode()
        path = home / "tasks" / "complete.toml"
        write_atomic(path, DOCS_TASK.format(owner=wish.owner, sources=source, budget=wish.budget).encode())
        return [path]
    known = [home / "example" / name for name in ("route.toml", "complete.toml")]
    if all(path.exists() for path in known) and wish.budget in known[1].read_text():
        return known
    return write_example(home / "example", owner=wish.owner, budget=wish.budget)


@dataclass(frozen=True)
class Shown:
    """Who is told what: events of the line, that the API answers, that the line has ended."""

    listen: Listener
    ready: Callable[[Plant], None]
    settled: Callable[[Plant], None]


def promised(factory: Factory, wish: Wish) -> list[str]:
    """Return the names that must answer at the end.

    Documents alone promise embeddings and search: whether so small a model may write in their manner, the gate says.
    """
    names = [task.name for task in factory.catalog.tasks.all()]
    if wish.docs is None or wish.tasks:
        return names
    return [name for name in names if factory.catalog.releases.current(name) is not None]


async def run(factory: Factory, wish: Wish, shown: Shown) -> list[str]:
    """Serve until interrupted (or, with `once`, until everything was tried); return what did not hold."""
    plant = Plant(factory, wish.plan)
    stop = _stop_event()
    systemd = notify_socket()
    async with plant, _reloading(plant, systemd) if wish.plan else _told(systemd):
        shown.ready(plant)
        notify(systemd, "READY=1")
        broken: list[str] = []
        if wish.model is not None:
            await plant.serve_folder(wish.model)
        if wish.line:
            broken += await _line(factory, plant, wish, shown.listen, stop)
        if stop.is_set():
            return broken
        if wish.once:
            tasks = await asyncio.to_thread(promised, factory, wish)
            broken += await try_out(factory, plant.url, plant.key, tasks)
        await asyncio.to_thread(shown.settled, plant)
        if not wish.once:
            plant.fill_index()
            await stop.wait()
        return broken


@contextlib.asynccontextmanager
async def _told(systemd: str) -> AsyncIterator[None]:
    """On the way out say that the end has begun."""
    try:
        yield
    finally:
        notify(systemd, "STOPPING=1")


@contextlib.asynccontextmanager
async def _reloading(plant: Plant, systemd: str) -> AsyncIterator[None]:
    """Reload at SIGHUP; without workers that signal ends a server, as it ends whatever loses its terminal."""
    loop, begun = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    async def reload() -> None:
        notify(systemd, reloading())
        await plant.reload()
        notify(systemd, "READY=1")

    loop.add_signal_handler(signal.SIGHUP, lambda: begun.add(asyncio.create_task(reload())))
    try:
        async with _told(systemd):
            yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        for task in begun:
            task.cancel()


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    return stop


async def _line(factory: Factory, plant: Plant, wish: Wish, listen: Listener, stop: asyncio.Event) -> list[str]:
    """Run the line in a process of its own and pass on what it says; return the errors it ended with."""
    files = await asyncio.to_thread(task_files, wish, factory.home)
    tasks: list[Task] = [read_task(file) for file in files]
    for task in tasks:
        await asyncio.to_thread(factory.remember, task)
    command = ["--home", str(factory.home), "train", "--events-for", str(os.getpid()), *map(str, files)]
    async with _process([sys.executable, "-m", "tokenworks.cli.main", *command]) as process:
        watch = asyncio.create_task(_listen(process, plant, listen))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({watch, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if stop.is_set():
            watch.cancel()
            return []
        words = await watch
        status = await process.wait()
    return [f"the line ended with status {status}: {words or 'it left no word'}"] if status else []


async def _listen(process: asyncio.subprocess.Process, plant: Plant, listen: Listener) -> str:
    """Pass on events; keep the index and the releases up with them. Return the last words on standard error."""
    assert process.stdout is not None
    assert process.stderr is not None
    last = asyncio.create_task(_last_words(process.stderr))
    decode = msgspec.json.Decoder(AnyEvent).decode
    async for line in process.stdout:
        try:
            event = decode(line)
        except msgspec.DecodeError:
            continue  # an outcome, which is read back from the catalog
        listen(event)
        if isinstance(event, Finished) and event.stage == "curate":
            plant.new_corpus(event.task)
        if isinstance(event, Said) and event.stage == "release":
            plant.new_release()
    return await last


async def _last_words(stream: asyncio.StreamReader) -> str:
    words = ""
    async for line in stream:
        text = line.decode(errors="replace").strip()
        words = text or words
    return words


@contextlib.asynccontextmanager
async def _process(command: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `command`; on the way out it is ended, and none of its children stays."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        limit=1 << 24,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def run_up(factory: Factory, wish: Wish, shown: Shown) -> list[str]:
    """Run `up` to its end on an event loop of its own; the fast one where it is installed."""
    try:
        import uvloop  # heavy to import, and only servers need it
    except ImportError:
        return asyncio.run(run(factory, wish, shown))
    broken: list[str] = uvloop.run(run(factory, wish, shown))
    return broken
