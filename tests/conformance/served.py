"""One gateway process for the whole suite, engines that can be held still, and the ledger to check answers against."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from factory.platform_house import Server
from tokenworks.core.document import Document
from tokenworks.factory import Factory
from tokenworks.governance.keys import SCOPES
from tokenworks.governance.limits import Limit, Limits, Subject
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.verify import verify
from tokenworks.retrieval.index import Index

ROOM = 4  # requests under way at most, so that a test can fill the house
TOML = f"""
[server]
port = 0
max_in_flight = {ROOM}
[limits]
wait_s = 0.05
[line]
threads = 1
[engines]
precision = "f32"
"""
TEXTS = {"cards.md": "A lost card is blocked at once.", "fees.md": "A transfer abroad has a fee."}


class Served(Server):
    """The server that every client of the suite asks."""

    toml = TOML

    def __init__(self, folder: Path, bases: list[Path]) -> None:
        index = Index.open(folder / "home" / "index")
        index.update([document(path, text) for path, text in TEXTS.items()], corpus="conformance")
        index.close()
        super().__init__(folder, bases)
        self.embedder, self.writer = (folder.name for folder in bases)
        with self.client() as client:  # it asks again until the engines have started
            client.embeddings.create(model=self.embedder, input="a card")
            client.completions.create(model=self.writer, prompt="a card", max_tokens=1)

    def key_of(self, tenant: str, **limits: int) -> str:
        """Return a new key that may do everything, with its tenant under `limits`."""
        secret = self.new_key(tenant, scopes=frozenset(SCOPES))
        if limits:
            with Factory(home=self.home, role="tests") as factory:
                Limits(factory.catalog.objects).set(Limit(subject=Subject(tenant=tenant), **limits))
        return secret

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Hold the engines still, so that whatever is asked stays under way."""
        engines = self.engines()
        assert engines, "nothing has been asked yet"
        for engine in engines:
            engine.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for engine in engines:
                engine.send_signal(signal.SIGCONT)

    def engines(self) -> list[psutil.Process]:
        """Return the engine processes."""
        return [one for one in psutil.Process(self.process.pid).children() if "tokenworks.serving.host" in _line(one)]

    def of_tenant(self, tenant: str, count: int = 0) -> list[RequestEntry]:
        """Return the entries of a tenant's requests; with `count`, once there are as many, and no more."""
        deadline = time.monotonic() + 60
        while True:
            found = [one for one in self.requests() if one.tenant == tenant]
            if len(found) >= count or time.monotonic() > deadline:
                assert len(found) == count or not count, [(one.endpoint, one.outcome, one.status) for one in found]
                return found
            time.sleep(0.05)

    async def seen(self, tenant: str, *, status: int, count: int) -> None:
        """Return when the ledger has `count` requests of a tenant that ended with `status`."""
        deadline = time.monotonic() + 60
        while sum(one.tenant == tenant and one.status == status for one in self.requests()) < count:
            assert time.monotonic() < deadline, f"no {count} requests of {tenant} with {status}"
            await asyncio.sleep(0.05)

    def until_in_flight(self, count: int) -> None:
        """Return when so many requests are under way."""
        deadline = time.monotonic() + 60
        while (found := self.in_flight()) < count:
            assert time.monotonic() < deadline, f"{found} requests are under way, not {count}"
            time.sleep(0.02)

    def in_flight(self) -> int:
        """Return how many requests are under way, as the server's own figures say."""
        text = httpx.get(f"{self.url}/metrics").text
        return int(float(re.search(r"^tokenworks_requests_in_flight (\S+)", text, re.M)[1]))

    def verified(self) -> list[str]:
        """Return what is wrong with the ledger."""
        return list(verify(self.home / "ledger").problems)


def document(path: str, text: str) -> Document:
    return Document(path=path, source="docs", sha256="0" * 64, media_type="text/markdown", text=text, label="public")


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended meanwhile
        return ""
