"""What metering costs: an engine with and without it, interleaved.

    python benchmarks/metering.py [--rounds 16] [--tokens 32] [--streams 16]

One OpenVINO engine with one thread and a random Llama of 16 M parameters answers in this process: nobody asks what it
took; each answer has an account; and the account has a page that a meter reads every second. Sides take turns, in an
order that is reversed every other round; ratios are within a round. Processor time is that of the thread that steps,
which others on the machine change less than they change tokens per second. Then the accounting is timed by itself, and
in its place between real steps. Results: benchmarks/results/metering.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from _sides import Figures, keep
from generation import Prompts, make_model
from tokenworks.metering.attribution.account import Account, Split, Work
from tokenworks.metering.attribution.meterer import Meterer
from tokenworks.metering.attribution.page import new_page
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.opening import Meter
from tokenworks.metering.power.model import open_source
from tokenworks.serving.engine import Engine, Options, Sampling
from tokenworks.serving.engines import openvino
from tokenworks.serving.steps import Steps
from tokenworks.settings import MeterSettings

SIDES = ("nobody asks", "accounts", "accounts and a meter")


class Timed(Account):
    """An account that knows what it takes itself, where it stands: between steps, whose data have filled the caches."""

    own_s = 0.0
    steps = 0

    def leave(self, began_s: float, shares: Callable[[float], Sequence[tuple[Work, float]]]) -> None:
        """Count, and be counted."""
        core_s = time.thread_time()
        super().leave(began_s, shares)
        self.own_s += time.thread_time() - core_s
        self.steps += 1

    def hold(self, began_s: float, shares: Split) -> float:
        """Count, and be counted."""
        core_s = time.thread_time()
        ended_s = super().hold(began_s, shares)
        self.own_s += time.thread_time() - core_s
        self.steps += 1
        return ended_s


async def in_place(engine: Engine, prompts: Prompts, pages: Path, chosen: argparse.Namespace) -> dict[str, float]:
    """Return what accounting takes of the processor time of the thread that steps."""
    account, core_s = Timed(new_page(pages)), time.thread_time()
    for _ in range(4):
        await run(engine, account, prompts.take(chosen.streams), chosen.tokens)
    core_s = time.thread_time() - core_s
    return {"us_a_step": 1e6 * account.own_s / account.steps, "share": account.own_s / core_s}


async def measure(engine: Engine, prompts: Prompts, pages: Path, chosen: argparse.Namespace) -> Figures:
    """Return one pair of figures for each side and round."""
    accounts = dict(zip(SIDES, (None, Account(), Account(new_page(pages))), strict=True))
    found: Figures = {side: [] for side in SIDES}
    await run(engine, None, prompts.take(chosen.streams), chosen.tokens)
    for number in range(chosen.rounds):
        for side in SIDES[:: -1 if number % 2 else 1]:
            found[side].append(await run(engine, accounts[side], prompts.take(chosen.streams), chosen.tokens))
    return found


async def run(engine: Engine, account: Account | None, prompts: list[str], tokens: int) -> tuple[float, float]:
    """Answer all `prompts` at once."""

    async def one(prompt: str) -> None:
        work = account.begin() if account else None
        sampling = Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True, work=work)
        async for _ in engine.generate(prompt, sampling):
            if work is not None:
                work.tell()
        if work is not None:
            work.close()

    began_s, core_s = time.perf_counter(), time.thread_time()
    await asyncio.gather(*map(one, prompts))
    made = len(prompts) * tokens
    return made / (time.perf_counter() - began_s), made / (time.thread_time() - core_s)


def accounting_us(members: int, steps: int = 2000) -> float:
    """Return the microseconds of processor time that the accounting of one step takes, the least of some rounds."""
    with tempfile.TemporaryDirectory() as folder:
        account, batch = Account(new_page(Path(folder))), Steps(256)
        for number in range(members):
            batch.add(number, account.begin(), 1, lambda: True)
        rounds = []
        for _ in range(8):
            began_s = time.thread_time()
            for _ in range(steps):
                batch.run(lambda: None)
            rounds.append((time.thread_time() - began_s) / steps)
        account.close()
    return min(rounds) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--streams", type=int, default=16)
    chosen = parser.parse_args()
    accounting = {members: accounting_us(members) for members in (1, 16, 32)}
    with tempfile.TemporaryDirectory() as scratch:
        folder, pages = make_model(Path(scratch) / "model"), Path(scratch) / "pages"
        engine = openvino.load(folder, Options(threads=1, cache=str(Path(scratch) / "cache")))
        source = open_source(MeterSettings(idle_w=20.0, busy_w=65.0), Calibration())
        meterer = Meterer(Meter({"model": source}, most_w=1e4), pages, interval_s=1.0)
        over = threading.Event()
        thread = threading.Thread(target=lambda: [meterer.turn() for _ in iter(lambda: over.wait(1.0), True)])
        thread.start()
        try:
            found, placed = asyncio.run(both(engine, Prompts(folder), pages, chosen))
        finally:
            over.set()
            thread.join()
    write(found, accounting, placed, chosen)


async def both(
    engine: Engine, prompts: Prompts, pages: Path, chosen: argparse.Namespace
) -> tuple[Figures, dict[str, float]]:
    """Return the figures of sides, and of accounting in its place."""
    found = await measure(engine, prompts, pages, chosen)
    return found, await in_place(engine, prompts, pages, chosen)


def write(found: Figures, accounting: dict[int, float], placed: dict[str, float], chosen: argparse.Namespace) -> None:
    """Keep the figures as data and as a table, and print the table."""
    each = ", ".join(f"{us:.1f} us with {members}" for members, us in accounting.items())
    below = (
        f"The accounting of one step by itself: {each} requests in it, of processor time. Between real steps: "
        f"{placed['us_a_step']:.0f} us, which is {placed['share']:.2%} of what the thread that steps takes."
    )
    work = f"{chosen.streams} answers of {chosen.tokens} tokens at once"
    told = {"accounting_us": accounting, "in_place": placed}
    keep("metering", "What metering costs", work, found, "", below, told=told)


if __name__ == "__main__":
    main()
