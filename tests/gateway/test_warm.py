"""A new version takes over when its engine answers, and never when it does not."""

from __future__ import annotations

import asyncio

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.gateway.served import OnTrial, Served
from tokenworks.gateway.warm import Warm


class Rows:
    """Releases that a test sets."""

    def __init__(self) -> None:
        self.aliases: dict[str, Served] = {}

    def point(self, ref: str, trial: OnTrial | None = None) -> None:
        self.aliases = {"route": Served(ref=ref, label="public", kind="classify", trial=trial)}

    async def current(self, alias: str) -> Served | None:
        return self.aliases.get(alias)

    async def version(self, ref: str) -> Served | None:
        return None

    async def all(self) -> dict[str, Served]:
        return self.aliases


class Engines:
    """Engines that start when a test lets them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let = asyncio.Event()
        self.broken: set[str] = set()

    async def start(self, ref: str) -> None:
        self.asked.append(ref)
        await self.let.wait()
        if ref in self.broken:
            raise EngineError(f"{ref} does not start")


async def answering(warm: Warm) -> str:
    served = await warm.current("route")
    assert served is not None
    return served.ref


async def settled(engines: Engines) -> None:
    engines.let.set()
    await asyncio.sleep(0.01)


async def test_the_version_before_answers_until_the_new_one_is_ready():
    rows, engines = Rows(), Engines()
    warm = Warm(rows, engines.start)
    rows.point("route@1")
    assert await answering(warm) == "route@1"
    rows.point("route@2")
    for _ in range(3):
        assert await answering(warm) == "route@1"
    await asyncio.sleep(0)
    assert engines.asked == ["route@2"]
    assert warm.refs == {"route@1", "route@2"}
    await settled(engines)
    assert await answering(warm) == "route@2"
    assert warm.refs == {"route@2"}


async def test_a_version_that_does_not_start_never_takes_over_and_the_reason_is_kept():
    rows, engines = Rows(), Engines()
    warm = Warm(rows, engines.start)
    rows.point("route@1")
    await answering(warm)
    rows.point("route@2")
    engines.broken = {"route@2"}
    await answering(warm)
    await settled(engines)
    assert await answering(warm) == "route@1"
    assert warm.failed == {"route@2": "route@2 does not start"}
    assert warm.status()["route@2"].state == "failed"
    assert engines.asked == ["route@2"]
    rows.point("route@1")
    assert await answering(warm) == "route@1"
    assert warm.status() == {}


async def test_a_trial_begins_when_its_engine_is_ready():
    rows, engines = Rows(), Engines()
    warm = Warm(rows, engines.start)
    candidate = Served(ref="route@2", label="public", kind="classify")
    rows.point("route@1", OnTrial(id="t", candidate=candidate, share=0.5, mode="canary"))
    served = await warm.current("route")
    assert served is not None
    assert served.trial is None
    await asyncio.sleep(0)
    await settled(engines)
    served = await warm.current("route")
    assert served is not None
    assert served.trial is not None
    assert warm.refs == {"route@1", "route@2"}


async def test_a_candidate_that_does_not_start_is_on_trial_and_marked_for_the_trial_must_count_it():
    rows, engines = Rows(), Engines()
    warm = Warm(rows, engines.start)
    candidate = Served(ref="route@2", label="public", kind="classify")
    rows.point("route@1", OnTrial(id="t", candidate=candidate, share=0.5, mode="canary"))
    engines.broken = {"route@2"}
    await warm.all()
    await settled(engines)
    served = await warm.current("route")
    assert served is not None
    assert served.trial is not None
    assert (served.ref, served.trial.broken) == ("route@1", "route@2 does not start")


async def test_a_version_that_comes_back_after_its_engine_may_have_ended_must_answer_anew():
    rows, engines = Rows(), Engines()
    warm = Warm(rows, engines.start)
    for ref in ("route@1", "route@2"):
        rows.point(ref)
        await warm.all()
        await settled(engines)
        assert await answering(warm) == ref
    engines.let.clear()
    rows.point("route@1")
    assert await answering(warm) == "route@2"
    await asyncio.sleep(0)
    assert engines.asked == ["route@2", "route@1"]
    await settled(engines)
    assert await answering(warm) == "route@1"


async def test_the_winner_of_a_trial_takes_over_at_once_for_it_is_warm():
    rows, engines = Rows(), Engines()
    warm = Warm(rows, engines.start)
    candidate = Served(ref="route@2", label="public", kind="classify")
    rows.point("route@1", OnTrial(id="t", candidate=candidate, share=0.5, mode="canary"))
    await warm.all()
    await settled(engines)
    await warm.all()
    rows.point("route@2")
    assert await answering(warm) == "route@2"
    assert engines.asked == ["route@2"]


async def test_a_withdrawn_alias_answers_nothing_at_once():
    rows = Rows()
    warm = Warm(rows, Engines().start)
    rows.point("route@1")
    await answering(warm)
    rows.aliases = {}
    assert await warm.current("route") is None


async def test_nothing_is_started_after_the_end():
    rows, engines = Rows(), Engines()
    warm = Warm(rows, engines.start)
    rows.point("route@1")
    await answering(warm)
    rows.aliases = {"route": msgspec.structs.replace(rows.aliases["route"], ref="route@2")}
    await answering(warm)
    await warm.close()
    assert engines.asked in ([], ["route@2"])
