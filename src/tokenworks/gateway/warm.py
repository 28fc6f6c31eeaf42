"""Nobody waits for a cold engine: until a new version's engine is ready, the version before goes on answering."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog

from tokenworks.core.errors import TokenworksError
from tokenworks.gateway.releases import Releases, refs_of
from tokenworks.gateway.served import OnTrial, Served
from tokenworks.serving.supervisor import EngineStatus

Start = Callable[[str], Awaitable[None]]  # (name@version): return once its engine answers, raise when it cannot
AGAIN_S = 30.0  # a version whose engine could not be started is tried again after so long
log = structlog.get_logger()


class Warm:
    """`own` releases, each taken over when the engine of its version answers.

    A version that cannot be started never takes over: the one before stays, and log and `status` say so. A candidate
    that cannot be started is on trial all the same, marked as broken, so that the trial counts what it would have
    failed. What answers when the process begins is taken at once, since there is nothing to go on with.
    """

    def __init__(self, own: Releases, start: Start) -> None:
        self.failed: dict[str, str] = {}  # name@version -> why its engine does not start
        self._own = own
        self._start = start
        self._ready: set[str] = set()
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}
        self._seen: Mapping[str, Served] | None = None
        self._answers: dict[str, Served] = {}

    @property
    def refs(self) -> frozenset[str]:
        """Every version that answers or is about to: their engines stay."""
        return refs_of(self._answers) | refs_of(self._seen or {})

    def status(self) -> Mapping[str, EngineStatus]:
        """Return the versions whose engines do not start."""
        return {ref: EngineStatus(state="failed", error=error) for ref, error in self.failed.items()}

    async def current(self, alias: str) -> Served | None:
        """Return what answers for `alias` now."""
        return (await self.all()).get(alias)

    def at_hand(self, alias: str) -> Served | None:
        """Return what answers for `alias`, None where its release has changed or is about to."""
        wanted, seen = self._own.at_hand(alias), self._seen
        if wanted is None or seen is None or self._starting or self._not_before:
            return None
        return self._answers.get(alias) if seen.get(alias) is wanted else None

    async def version(self, ref: str) -> Served | None:
        """Return the version `name@version`, released or not."""
        return await self._own.version(ref)

    async def all(self) -> dict[str, Served]:
        """Return every alias that something answers for."""
        wanted = await self._own.all()
        if wanted is not self._seen or self._starting or self._not_before:
            self._seen = wanted
            self._answers = {alias: self._settled(alias, served) for alias, served in wanted.items()}
            self._forget_all_but(self.refs)
        return self._answers

    async def close(self) -> None:
        """Start nothing more."""
        for task in self._starting.values():
            task.cancel()
        await asyncio.gather(*self._starting.values(), return_exceptions=True)

    def _settled(self, alias: str, served: Served) -> Served:
        """Return `served` as far as its engines are ready."""
        before = self._answers.get(alias)
        trial = self._trial(served.trial)
        if before is None or before.ref == served.ref:
            self._ready.add(served.ref)
        elif not self._warm(served.ref):
            return msgspec.structs.replace(before, trial=None)
        return served if trial is served.trial else msgspec.structs.replace(served, trial=trial)

    def _trial(self, trial: OnTrial | None) -> OnTrial | None:
        """Return `trial` once its candidate answers, or is known not to."""
        if trial is None or self._warm(trial.candidate.ref):
            return trial
        why = self.failed.get(trial.candidate.ref)
        return msgspec.structs.replace(trial, broken=why) if why else None

    def _forget_all_but(self, refs: frozenset[str]) -> None:
        """An engine that nobody needs may end: should its version come back, it has to answer anew."""
        self._ready &= refs
        self.failed = {ref: why for ref, why in self.failed.items() if ref in refs}
        self._not_before = {ref: at for ref, at in self._not_before.items() if ref in refs}

    def _warm(self, ref: str) -> bool:
        """Return whether the engine of `ref` has answered; see to it that it will."""
        if ref in self._ready:
            return True
        if ref not in self._starting and time.monotonic() >= self._not_before.get(ref, 0.0):
            self._not_before.pop(ref, None)
            self._starting[ref] = asyncio.create_task(self._begin(ref))
        return False

    async def _begin(self, ref: str) -> None:
        try:
            await self._start(ref)
        except TokenworksError as error:
            self.failed[ref] = str(error)
            self._not_before[ref] = time.monotonic() + AGAIN_S
            log.error("a released version cannot be started; the one before goes on", version=ref, error=str(error))
        else:
            self.failed.pop(ref, None)
            self._ready.add(ref)
        finally:
            self._starting.pop(ref, None)
            self._seen = None  # look again at the next question
