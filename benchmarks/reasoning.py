"""What long thinking brings a small model that the line made: multi-digit sums with their working.

    python benchmarks/reasoning.py [--questions 600] [--samples 16] [--home FOLDER]

The line reads sheets of worked sums, pretrains a model on them within a fixed number of FLOPs, judges and releases it.
Then `evaluate --sweep reasoning` asks it sums that it has not seen. Results go to benchmarks/results/reasoning.json and
reasoning.md. With --home a model that is there already is asked. Joules are a model's, of a machine that draws so many
watts idle and busy, and money is that of a machine of such a price: both are given below, and neither was metered here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from pathlib import Path

import msgspec

from ledger import RESULTS, machine
from tokenworks.core.task import Task, TaskData, TaskHead, TaskModel
from tokenworks.factory import Factory
from tokenworks.factory.sampling import Question, asking, draw_all
from tokenworks.factory.sweeping import Sweep, sweep, sweep_lines
from tokenworks.gateway.openai.fields import Verification
from tokenworks.gateway.thinking.judging import question_about
from tokenworks.serving.thinking.answers import reader
from tokenworks.settings import Settings

SHEETS, ROWS = 120, 260
JUDGED, JUDGE_BUDGET = 2500, "60s"  # sums of whose answers the judge learns
KEPT = 600  # sums that are kept out of the documents; others that are asked are merely not in them
HELD_BACK = 20_000  # sums that may be asked: no judge learns from them
DIGITS = 3  # of each of the two numbers
TASK = "sums of two numbers of three digits, with working; none of them was in what the model learned from"
TEMPERATURE = 1.2  # at which it errs often enough for a vote to be needed
ANSWER = r"; ([\d ]+)$"
JUDGING = Verification(type="judge", question="Right?")
IDLE_W, BUSY_W = 20.0, 65.0
COSTS = """as_of = 2026-11-01
source = "assumed, for a benchmark"
currency = "EUR"
zone = "UTC"
[[nodes]]
name = "bench"
since = 2026-01-01
price = 1500
life_years = 4
idle_kw = 0.020
busy_kw = 0.065
pue = 1.5
[[tariffs]]
since = 2026-01-01
[[tariffs.bands]]
per_kwh = 0.30
"""


def spaced(number: int) -> str:
    """Return the digits apart, so that each is a token."""
    return " ".join(str(number))


def worked(first: int, second: int) -> str:
    """Return a sum with its working, from the last digit on: `1 2 + 3 4 : 2 + 4 + 0 = 6 , 1 + 3 + 0 = 4 ; 4 6`."""
    carry, steps = 0, []
    for one, other in zip(reversed(str(first)), reversed(str(second)), strict=True):
        total = int(one) + int(other) + carry
        steps.append(f"{one} + {other} + {carry} = {spaced(total)}")
        carry = total // 10
    return f"{spaced(first)} + {spaced(second)} : {' , '.join(steps)} ; {spaced(first + second)}"


def pair(rng: random.Random) -> tuple[int, int]:
    """Return two numbers of `DIGITS` digits."""
    return rng.randrange(10 ** (DIGITS - 1), 10**DIGITS), rng.randrange(10 ** (DIGITS - 1), 10**DIGITS)


def follows() -> str:
    """Return a pattern of working that holds together: carries are handed on, and the answer is made of the totals.

    No sum is known to it: `2 + 4 + 0 = 7` is as good to it as 6.
    """
    carries = ["0", *(f"(?({2 * step - 1})1|0)" for step in range(1, DIGITS))]
    totals = [*[r"(1 )?(\d)"] * (DIGITS - 1), r"((?:1 )?\d)"]
    steps = [rf"\d \+ \d \+ {carry} = {total}" for carry, total in zip(carries, totals, strict=True)]
    made = [f"\\{2 * DIGITS - 1}", *(f"\\{2 * step}" for step in range(DIGITS - 1, 0, -1))]
    return f"^ {' , '.join(steps)} ; {' '.join(made)}$"


def sheets() -> list[list[tuple[int, int]]]:
    """Return the sums of each document, without the first that are asked."""
    rng, kept, found = random.Random(7), set(_different(KEPT)), list[list[tuple[int, int]]]()
    for _ in range(SHEETS):
        rows: list[tuple[int, int]] = []
        while len(rows) < ROWS:
            if (drawn := pair(rng)) not in kept:
                rows.append(drawn)
        found.append(rows)
    return found


def write_sheets(folder: Path) -> None:
    """Write the documents."""
    folder.mkdir(parents=True)
    for number, rows in enumerate(sheets()):
        (folder / f"sheet-{number:03}.txt").write_text("\n".join(worked(*both) for both in rows) + "\n")


def _different(count: int, but: set[tuple[int, int]] | None = None) -> list[tuple[int, int]]:
    rng, found = random.Random(2024), dict[tuple[int, int], None]()
    while len(found) < count:
        if (drawn := pair(rng)) not in (but or ()):
            found[drawn] = None
    return list(found)


def questions(count: int) -> dict[tuple[int, int], Question]:
    """Return so many different sums, none of which is in a document; fewer are the first of more."""
    found = dict[tuple[int, int], Question]()
    for first, second in _different(count, {both for rows in sheets() for both in rows}):
        prompt = "\n" + worked(first, second).partition(" :")[0] + " :"
        body = {"prompt": prompt, "max_tokens": 64, "stop": ["\n"], "seed": 1000 * len(found)}
        body["temperature"] = TEMPERATURE
        found[first, second] = Question(body=body, expected=str(first + second))
    return found


def again_asked(question: Question) -> Question:
    """Return the question with itself as the cue of budget forcing: this model knows no other way to think again."""
    cue = question.body["prompt"].strip()
    return msgspec.structs.replace(question, asked=msgspec.structs.replace(question.asked, cue=cue))


def house(home: Path) -> Settings:
    """Return the settings of a home that is metered by a model, and whose costs are known."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "costs.toml").write_text(COSTS)
    meter = {"source": "model", "idle_w": IDLE_W, "busy_w": BUSY_W, "interval_s": 0.5}
    return msgspec.convert({"home": str(home), "meter": meter}, Settings)


def known(factory: Factory, name: str) -> str:
    """Return the version of the model that is there already, "" where there is none."""
    version = factory.catalog.models.latest(name)
    return version.ref if version is not None else ""


def make(factory: Factory, folder: Path, budget: str) -> str:
    """Have the line make the model; return its version."""
    task = Task(
        task=TaskHead(name="sums", kind="complete", owner="mailto:benchmarks@localhost"),
        data=TaskData(sources=(str(folder),)),
        model=TaskModel(base="from-scratch", budget=budget),
    )
    return factory.make(task).version.ref


async def judged(factory: Factory, version: str) -> list[dict[str, list[dict[str, str]]]]:
    """Return conversations about answers of the model's own to sums that are not asked later, half of them right."""
    read, held = reader(ANSWER), set(questions(HELD_BACK))
    asked = {both: one for both, one in questions(HELD_BACK + JUDGED).items() if both not in held}
    ask = asking(factory.answering.answer, version)
    drawn = await draw_all(list(asked.values()), 4, ask, lambda done, of: None)
    told: dict[bool, list[dict[str, list[dict[str, str]]]]] = {True: [], False: []}
    for question, row in zip(asked.values(), drawn, strict=True):
        for text in {one.text for one in row}:
            right = read(text) == question.expected
            about = question_about(question.body["prompt"], text, JUDGING)
            turns = [{"role": "user", "content": about}, {"role": "assistant", "content": "yes" if right else "no"}]
            told[right].append({"messages": turns})
    count = min(len(told[True]), len(told[False]))
    both = [one for rows in told.values() for one in rows[:count]]
    random.Random(11).shuffle(both)
    return both


def make_judge(factory: Factory, folder: Path, version: str) -> str:
    """Have the line tune the model to judge its own answers; return the judge's version."""
    examples = asyncio.run(judged(factory, version))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "judged.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in examples))
    task = Task(
        task=TaskHead(name="sums-judge", kind="chat", owner="mailto:benchmarks@localhost"),
        data=TaskData(examples=str(path)),
        model=TaskModel(base=version, method="full", budget=JUDGE_BUDGET),
    )
    return factory.make(task).version.ref


def write(found: Sweep, budget: str, made_s: float, asked_s: float) -> None:
    """Write the results."""
    result = {
        "machine": machine(None),
        "task": TASK,
        "temperature": TEMPERATURE,
        "budget": budget,
        "assumed": {"idle_w": IDLE_W, "busy_w": BUSY_W, "costs": COSTS},
        "made_s": round(made_s, 1),  # almost nothing where the models were there already
        "asked_s": round(asked_s, 1),
        **msgspec.to_builtins(found),
    }
    (RESULTS / "reasoning.json").write_text(json.dumps(result, indent=2) + "\n")
    (RESULTS / "reasoning.md").write_text(page(found, budget))


def page(found: Sweep, budget: str) -> str:
    """Return the results as a page."""
    assumed = (
        f"Joules are of a machine assumed to draw {IDLE_W:g} W idle and {BUSY_W:g} W busy, cost of one of 1500 EUR."
    )
    text = "\n".join(sweep_lines(found))
    about = f"{TASK}; {budget}, temperature {TEMPERATURE:g}, 95 % intervals."
    return f"# Long thinking\n\n{about}\n{assumed}\n\n```\n{text}\n```\n"


def main() -> None:
    """Make the model and sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--budget", default="2.5e12 flops")
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    asked = questions(given.questions)
    with tempfile.TemporaryDirectory() as scratch, Factory(house(given.home or Path(scratch) / "home")) as factory:
        began_s, version = time.monotonic(), known(factory, "sums")
        if not version:
            write_sheets(Path(scratch) / "sheets")
            version = make(factory, Path(scratch) / "sheets", given.budget)
        made_s = time.monotonic()
        judge = known(factory, "sums-judge") or make_judge(factory, Path(scratch) / "judge", version)
        by = [Verification(type="regex", pattern=follows()), msgspec.structs.replace(JUDGING, model=judge)]
        asked_s = time.monotonic()
        again = [again_asked(one) for one in asked.values()]
        found = sweep(factory, version, again, answer=ANSWER, samples=given.samples, verifiers=by)
        print("\n".join(sweep_lines(found)))
        write(found, given.budget, made_s - began_s, time.monotonic() - asked_s)


if __name__ == "__main__":
    main()
