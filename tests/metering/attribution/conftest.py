"""A machine in miniature: a clock that is turned by hand, a counter that runs with it, an engine and its meter."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tokenworks.metering.attribution.account import Account, Work
from tokenworks.metering.attribution.meterer import Meterer
from tokenworks.metering.attribution.page import new_page
from tokenworks.metering.opening import Meter
from tokenworks.metering.source import MeterError, Sample

INTERVAL_S = 1.0


class Counter:
    """A source whose counter the test turns."""

    grade, error, by_processor = "rapl", 0.05, False

    def __init__(self) -> None:
        self.joules = 0.0
        self.says: float | None = None  # instead; NaN: it cannot be asked
        self.gone = False

    def read(self) -> list[Sample]:
        if self.gone:
            raise MeterError("the plug does not answer")
        return [Sample("all", self.joules if self.says is None else self.says)]

    def close(self) -> None:
        pass


class Machine:
    """One engine under one meter. Power is 50 W idle, and 150 W with a step under way."""

    def __init__(self, folder: Path, *, idle_w: float = 0.0, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.counter = Counter()
        self.folder = folder
        monkeypatch.setattr("tokenworks.metering.opening.time.monotonic", lambda: self.now_s)
        self.account = Account(new_page(folder), clock=self.clock)
        meter = Meter({"rapl": self.counter}, most_w=1e4, idle_w=idle_w)
        self.meterer = Meterer(meter, folder, interval_s=INTERVAL_S, clock=self.clock)

    def clock(self) -> float:
        return self.now_s

    def idle(self, seconds: float, watts: float = 50.0) -> None:
        self.now_s += seconds
        self.counter.joules += seconds * watts

    def step(self, seconds: float, *works: Work, watts: float = 150.0) -> None:
        """Run a step in which each of `works` did the same."""
        began_s = self.account.enter()
        self.idle(seconds, watts)
        self.account.leave(began_s, lambda took_s: [(work, took_s / len(works)) for work in works])

    def held_step(self, seconds: float, *works: Work, watts: float = 150.0) -> None:
        """Run the same, split later."""
        began_s = self.account.enter()
        self.idle(seconds, watts)
        self.account.hold(began_s, lambda held: [(work, sum(held) / len(works)) for work in works])


@pytest.fixture
def new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    return lambda name="engines", **changes: Machine(tmp_path / name, monkeypatch=monkeypatch, **changes)


@pytest.fixture
def machine(new_machine: Callable[..., Machine]) -> Machine:
    return new_machine()


NAN = math.nan
