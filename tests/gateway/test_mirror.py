"""Shadows take what users leave: they wait for a quiet moment, and are dropped and counted where none comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tokenworks.core.errors import EngineError
from tokenworks.core.label import Label
from tokenworks.gateway.exchange import Exchange, Reply, whole
from tokenworks.gateway.layers.admit import Admit
from tokenworks.gateway.layers.mirror import WAITING, Mirror
from tokenworks.gateway.metrics import Metrics
from tokenworks.gateway.notes import Notes
from tokenworks.gateway.openai.asked import Asked
from tokenworks.gateway.served import Served
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.writer import Ledger

if TYPE_CHECKING:
    from pathlib import Path


class Mirrored:
    """A mirror over engines that a test holds back, in a gateway as busy as a test says."""

    def __init__(self, root: Path) -> None:
        self.root, self.asked = root, []
        self.ledger, self.metrics, self.admit = Ledger(root, "test", segment_bytes=1 << 16), Metrics(), Admit(1024)
        notes = Notes(self.ledger, bodies=None, find=lambda *_: None)
        self.mirror = Mirror(notes, self.metrics, self.admit, room=1)
        self.go = asyncio.Event()
        self.go.set()

    async def ask(self, number: int = 0, broken: str = "") -> Exchange:
        candidate = Served(ref="m@2", label="restricted", kind="chat")
        exchange = Exchange(
            endpoint="chat", read=whole(b""), request_id=f"req-{number:08d}", version="m@1", arm="incumbent",
            beside=candidate, label=Label.INTERNAL, asked=Asked(model="m"), broken=broken,
        )  # fmt: skip
        assert await self.mirror(exchange, self._engines) == Reply(status=200, body=b"m@1")
        return exchange

    async def _engines(self, exchange: Exchange) -> Reply:
        if exchange.version == "m@2":
            self.asked.append(exchange.request_id)
            await self.go.wait()
            if exchange.request_id.startswith("req-00000666"):
                raise EngineError("it broke")
        return Reply(status=200, body=exchange.version.encode())

    def shadows(self) -> dict[str, RequestEntry]:
        return {entry.request_id: entry for _, entry in read(self.root) if isinstance(entry, RequestEntry)}

    @property
    def dropped(self) -> int:
        text = self.metrics.text({}).decode()
        return int(float(text.split("\ntokenworks_shadows_dropped_total ")[1].split()[0]))


@pytest.fixture
async def mirrored(tmp_path: Path):
    made = Mirrored(tmp_path / "ledger")
    yield made
    await made.mirror.close()
    made.ledger.close()


async def written(mirrored: Mirrored, count: int) -> dict[str, RequestEntry]:
    async with asyncio.timeout(60):
        while len(mirrored.shadows()) < count:
            await asyncio.sleep(0.01)
    return mirrored.shadows()


async def test_a_shadow_is_written_down_with_the_label_of_what_it_learned_from(mirrored):
    await mirrored.ask()
    (entry,) = (await written(mirrored, 1)).values()
    assert (entry.request_id, entry.arm, entry.version, entry.outcome) == ("req-00000000-shadow", "shadow", "m@2", "ok")
    assert entry.label == "restricted"


async def test_a_shadow_waits_until_no_user_does(mirrored):
    mirrored.admit.in_flight = 1
    await mirrored.ask()
    await asyncio.sleep(0.1)
    assert mirrored.asked == []
    mirrored.admit.in_flight = 0
    await written(mirrored, 1)


async def test_shadows_are_asked_one_after_the_other_where_there_is_room_for_one(mirrored):
    mirrored.go.clear()
    for number in range(3):
        await mirrored.ask(number)
    await asyncio.sleep(0.1)
    assert len(mirrored.asked) == 1
    mirrored.go.set()
    assert len(await written(mirrored, 3)) == 3


async def test_more_shadows_than_may_wait_are_dropped_and_counted(mirrored):
    mirrored.admit.in_flight = 1
    for number in range(WAITING + 4):
        await mirrored.ask(number)
    assert mirrored.dropped == 3
    assert mirrored.asked == []
    mirrored.admit.draining = True
    async with asyncio.timeout(60):
        while mirrored.dropped < WAITING + 4:
            await asyncio.sleep(0.01)


async def test_a_shadow_that_fails_is_on_record_for_the_trial(mirrored):
    await mirrored.ask(666)
    await mirrored.ask(1, broken="its engine does not start")
    found = await written(mirrored, 2)
    assert {(one.arm, one.outcome, one.error) for one in found.values()} == {
        ("shadow", "failed", "it broke"),
        ("shadow", "failed", "engine_not_started"),
    }
    assert mirrored.asked == ["req-00000666-shadow"]
