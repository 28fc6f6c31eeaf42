"""A server elsewhere in miniature: a clock that steps turn, counters, a host's meter, and gateways that ask it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tokenworks.core.usage import Spent, Usage
from tokenworks.ledger.entries import FarEnergyEntry
from tokenworks.metering.attribution.coarse.account import FarAccount, FarWork
from tokenworks.metering.attribution.coarse.counters import Count, Counters
from tokenworks.metering.attribution.coarse.meterer import FarMeterer
from tokenworks.metering.opening import Meter
from tokenworks.metering.source import MeterError, Sample

FIXED_S, PROMPT_S, WRITTEN_S = 8e-3, 2e-5, 4e-4
IDLE_W, MORE_W = 50.0, 100.0
SERIES = (("engine", "0"), ("model_name", "m"))


class Register:
    """A source whose counter the test turns."""

    grade, error, by_processor = "wall", 0.01, False

    def __init__(self) -> None:
        self.joules = 0.0
        self.says: float | None = None
        self.gone = False
        self.tick_s, self.clock = 0.0, float  # with a tick, what it said at the last one
        self._ticked = -1.0, 0.0

    def read(self) -> list[Sample]:
        if self.gone:
            raise MeterError("the plug does not answer")
        if self.tick_s:
            number = self.clock() // self.tick_s
            if number != self._ticked[0]:
                self._ticked = number, self.joules
            return [Sample("all", self._ticked[1])]
        return [Sample("all", self.joules if self.says is None else self.says)]

    def close(self) -> None:
        pass


class Page:
    """What the server's counters say."""

    def __init__(self) -> None:
        self.prompt = self.cached = self.generated = self.steps = 0.0
        self.running, self.started = 0, 1000.0
        self.gone = False

    def read(self) -> Counters:
        if self.gone:
            raise MeterError("the metrics page does not answer")
        count = Count(self.prompt, self.cached, self.generated, self.steps)
        return Counters({SERIES: count}, float(self.running), self.started)

    def begin_anew(self) -> None:
        self.prompt = self.cached = self.generated = self.steps = 0.0
        self.started += 500


class Asked:
    """One request in the batch; `account` None: somebody else's."""

    def __init__(self, prompt: int, wanted: int, account: FarAccount | None, *, streamed: bool, name: str) -> None:
        self.prompt, self.wanted, self.written, self.streamed = prompt, wanted, 0, streamed
        self.exact_s = 0.0  # by single steps
        self.work: FarWork | None = account.begin(name, 4 * prompt) if account else None
        self.spent: Spent | None = None

    def grow(self) -> None:
        self.written += 1
        if self.work and self.streamed and self.written == 1:
            self.work.first()
        if self.work and self.written == self.wanted:
            self.spent = self.work.tell(Usage(prompt_tokens=self.prompt, completion_tokens=self.written))

    @property
    def over(self) -> bool:
        return self.written >= self.wanted


class Elsewhere:
    """The server, its host, and who asks it. Each step takes 8 ms, and more with tokens."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, interval_s: float = 1.0) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr("tokenworks.metering.opening.time.monotonic", lambda: self.now_s)
        self.folder, self.interval_s = folder, interval_s
        self.register, self.page = Register(), Page()
        meter = Meter({"wall": self.register}, most_w=1e4, idle_w=IDLE_W)
        self.meterer = FarMeterer("there", self.page, meter, folder, interval_s=interval_s, clock=self.clock)
        self.account = self.gateway()
        self.batch: list[Asked] = []
        self.every: list[Asked] = []
        self.busy_s = 0.0
        self._due_s = self.now_s + interval_s
        self.meterer.turn()

    def clock(self) -> float:
        return self.now_s

    def gateway(self) -> FarAccount:
        return FarAccount(self.folder, clock=self.clock)

    def ask(
        self, prompt: int, wanted: int, *, by: FarAccount | None = None, ours: bool = True, streamed: bool = True
    ) -> Asked:
        account = (by or self.account) if ours else None
        asked = Asked(prompt, wanted, account, streamed=streamed, name="there")
        self.batch.append(asked)
        self.every.append(asked)
        self.page.running = len(self.batch)
        return asked

    def step(self) -> None:
        """One step of the batch, then whatever is due."""
        works = [WRITTEN_S if one.written else PROMPT_S * one.prompt for one in self.batch]
        took_s = FIXED_S + sum(works)
        for one, work in zip(self.batch, works, strict=True):
            one.exact_s += FIXED_S / len(self.batch) + work
        self.busy_s += took_s
        self._pass(took_s, IDLE_W + MORE_W)
        self.page.prompt += sum(one.prompt for one in self.batch if not one.written)
        self.page.generated += len(self.batch)
        self.page.steps += 1
        for one in self.batch:
            one.grow()
        self.batch = [one for one in self.batch if not one.over]
        self.page.running = len(self.batch)
        self._look()

    def run(self, seconds: float, arrives: Callable[[float], None] = lambda now_s: None) -> None:
        """Let time pass: steps while there is work. `arrives` is asked before each of them."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            arrives(self.now_s)
            if self.batch:
                self.step()
            else:
                self._pass(min(5e-3, until_s - self.now_s), IDLE_W)
                self._look()

    def finish(self) -> None:
        """Answer what is under way, and let the meter see it."""
        while self.batch:
            self.step()
        self.run(3.5 * self.interval_s)

    def entry(self) -> FarEnergyEntry:
        return self.meterer.entry(self.now_s)

    def _pass(self, seconds: float, watts: float) -> None:
        self.now_s += seconds
        self.register.joules += seconds * watts

    def _look(self) -> None:
        if self.now_s >= self._due_s:
            self._due_s += self.interval_s
            self.meterer.turn()


def given_j(asked: Sequence[Asked]) -> float:
    return sum(one.spent.joules or 0.0 for one in asked if one.spent)
