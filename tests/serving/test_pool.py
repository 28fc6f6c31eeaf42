"""Engines by model version: real engine processes of a tiny random encoder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from patience import until
from tokenworks.core.errors import ConfigError, EngineError, NotFoundError
from tokenworks.serving.answer import EngineCall
from tokenworks.serving.engine import Options
from tokenworks.serving.pool import Pool
from tokenworks.serving.supervisor import NotReadyError, Policy

QUICK = Policy(first_pause_s=0.02, longest_pause_s=0.05, give_up_after=2, retry_failed_s=5)
BODY = json.dumps({"model": "any", "input": ["lost card", "money"]}).encode()


def call(ref: str) -> EngineCall:
    return EngineCall(ref=ref, path="/v1/embeddings", body=BODY, request_id="req-of-a-test")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.asynccontextmanager
async def open_pool(pool: Pool) -> AsyncIterator[Pool]:
    try:
        yield pool
    finally:
        await pool.close()


async def test_an_added_version_answers_and_leaves_no_process_behind(tiny_bert: Path) -> None:
    async with open_pool(Pool(policy=QUICK)) as pool:
        await pool.add("encode@1", tiny_bert, options=Options(threads=1))
        await pool.ready("encode@1")
        answer = await pool.generate(call("encode@1"))
        assert isinstance(answer.body, bytes)
        assert (answer.status, answer.engine) == (200, "encoder")
        assert len(json.loads(answer.body)["data"]) == 2
        pid = pool.status()["encode@1"].pid
        assert alive(pid)
    assert not alive(pid)


async def test_what_nobody_added_does_not_exist() -> None:
    async with open_pool(Pool()) as pool:
        with pytest.raises(NotFoundError, match="other@1 is not served here"):
            await pool.generate(call("other@1"))


async def test_a_version_is_opened_at_its_first_use_and_once_for_all_who_ask(tiny_bert: Path) -> None:
    opened = []

    def open_model(ref: str) -> Path:
        opened.append(ref)
        return tiny_bert

    async with open_pool(Pool(open_model=open_model, wait_s=30, policy=QUICK)) as pool:
        answers = await asyncio.gather(*(pool.generate(call("encode@7")) for _ in range(5)))
        assert {answer.status for answer in answers} == {200}
    assert opened == ["encode@7"]


async def test_a_version_that_may_not_be_opened_says_why_to_everybody_who_asks() -> None:
    def refuse(ref: str) -> Path:
        raise EngineError(f"{ref}: the signature does not verify")

    async with open_pool(Pool(open_model=refuse)) as pool:
        for _ in range(2):
            with pytest.raises(EngineError, match="signature does not verify"):
                await pool.generate(call("tampered@1"))


async def test_a_folder_that_no_engine_serves_is_refused(tmp_path: Path) -> None:
    async with open_pool(Pool(open_model=lambda ref: tmp_path)) as pool:
        with pytest.raises(EngineError, match="no engine serves"):
            await pool.generate(call("empty@1"))


async def test_opening_that_takes_long_asks_to_come_back(tiny_bert: Path) -> None:
    def slowly(ref: str) -> Path:
        time.sleep(0.3)
        return tiny_bert

    async with open_pool(Pool(open_model=slowly, wait_s=0.05, policy=QUICK)) as pool:
        with pytest.raises(NotReadyError, match="is being opened"):
            await pool.generate(call("encode@1"))
        await pool.ready("encode@1")
        assert (await pool.generate(call("encode@1"))).status == 200


async def test_idle_versions_that_are_not_released_make_room(tiny_bert: Path) -> None:
    released = frozenset({"encode@1"})
    pool = Pool(open_model=lambda ref: tiny_bert, released=lambda: released, spare=1, wait_s=30, policy=QUICK)
    async with open_pool(pool):
        for version in (1, 2, 3, 4):
            await pool.generate(call(f"encode@{version}"))
        await asyncio.sleep(0)
        assert set(pool.status()) == {"encode@1", "encode@3", "encode@4"}


async def test_removing_lets_calls_under_way_finish(tiny_bert: Path) -> None:
    async with open_pool(Pool(policy=QUICK)) as pool:
        await pool.add("encode@1", tiny_bert)
        await pool.ready("encode@1")
        calls = [asyncio.create_task(pool.generate(call("encode@1"))) for _ in range(8)]
        await asyncio.sleep(0)
        await pool.remove("encode@1")
        assert {(await done).status for done in calls} == {200}
        assert pool.status() == {}


async def test_an_engine_that_cannot_load_is_reported_with_its_last_words(tiny_bert: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((tiny_bert / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    async with open_pool(Pool(policy=QUICK)) as pool:
        await pool.add("encode@1", tmp_path, engine="encoder")
        with pytest.raises(EngineError, match=r"(?s)failed 2 times in a row.*model\.safetensors"):
            await pool.ready("encode@1", 30)
        assert pool.status()["encode@1"].state == "failed"


async def test_a_folder_is_never_given_to_a_remote_server(tiny_bert: Path) -> None:
    async with open_pool(Pool()) as pool:
        with pytest.raises(ConfigError, match="never sent to a remote server"):
            await pool.add("encode@1", tiny_bert, engine="remote")


async def test_a_remote_server_answers_under_its_own_name_for_the_model(tiny_bert: Path) -> None:
    """The remote server is the real engine host at its address; only the way to it is that of a remote one."""
    async with open_pool(Pool(policy=QUICK)) as pool:
        await pool.add("encode@1", tiny_bert)
        await pool.ready("encode@1")
        upstream = await pool._members["encode@1"].upstream(1)
        url = f"http://{upstream.address.netloc}/v1"
        await pool.add_remote("far@1", Options(url=url, key="secret"), model="encode@1")
        answer = await pool.generate(call("far@1"))
        assert (answer.status, answer.engine, pool.status()["far@1"].state) == (200, "remote", "ready")


async def test_a_remote_server_without_an_address_is_a_configuration_error() -> None:
    async with open_pool(Pool()) as pool:
        with pytest.raises(ConfigError, match=r"engines\.remote_url"):
            await pool.add_remote("far@1", Options())


PARENT = """
import asyncio, json, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started with SIGINT ignored
from tokenworks.serving.pool import Pool
async def main():
    pool = Pool()
    await pool.add("encode@1", Path(sys.argv[1]))
    await pool.ready("encode@1")
    print(json.dumps({"engine": pool.status()["encode@1"].pid}), flush=True)
    await asyncio.sleep(60)
if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("loop", "end"),
    [
        ("asyncio", signal.SIGKILL),
        ("uvloop", signal.SIGKILL),
        ("uvloop", signal.SIGTERM),
        ("uvloop", signal.SIGINT),
    ],
)
def test_no_engine_outlives_its_parent_whatever_ends_that(tiny_bert: Path, loop: str, end: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, str(tiny_bert), loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        engine = json.loads(parent.stdout.readline())["engine"]
        assert alive(engine)
        parent.send_signal(end)
        parent.wait(60)
    until(lambda: not alive(engine))
