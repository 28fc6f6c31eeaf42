"""The suite's one server, its clients, and what becomes of the run: the table of docs/conformance.md."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from conformance.asking import done
from conformance.served import Served
from conformance.table import Ran, lines_of

OPENAI: dict[str, Any] = {"openai-sync": openai.OpenAI, "openai-async": openai.AsyncOpenAI}
RAN = pytest.StashKey[list[Ran]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "conforms(endpoint): what of the API a check of the suite is about")
    config.stash[RAN] = []


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    ran = Ran.of(item)
    if ran and call.when == "call":
        passed = call.excinfo is None
        skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
        if not skipped:
            item.config.stash[RAN].append(Ran(ran.endpoint, ran.client, ran.name, passed))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table where CONFORMANCE_TABLE says, after a run of the whole suite in one process."""
    page = os.environ.get("CONFORMANCE_TABLE")
    if page and session.config.stash[RAN]:
        Path(page).write_text("\n".join(lines_of(session.config.stash[RAN])) + "\n")


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, make_llama: Callable[..., Path]
) -> Iterator[Served]:
    """A real server whose models are a tiny encoder and a tiny writer that can go on for thousands of tokens."""
    running = Served(tmp_path_factory.mktemp("served"), [tiny_bert, make_llama(max_position_embeddings=8192)])
    yield running
    running.stop()


@pytest.fixture(params=OPENAI)
async def client(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[Any]:
    """OpenAI's official client, of either kind, that asks nothing twice."""
    made = OPENAI[request.param](base_url=f"{served.url}/v1", api_key=served.key, max_retries=0, timeout=60)
    yield made
    await done(made.close())
