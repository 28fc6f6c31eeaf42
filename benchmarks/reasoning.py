"""What long thinking brings a small model that the line made: multi-digit sums with their working.

    python benchmarks/reasoning.py [--questions 600] [--samples 16] [--home FOLDER]

The line reads sheets of worked sums, pretrains a model on them within a fixed number of FLOPs, judges and releases it.
Then `evaluate --sweep reasoning` asks it sums that it has not seen. Results go to benchmarks/results/reasoning.json and
reasoning.md. With --home a model that is there already is asked.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import msgspec

from ledger import RESULTS, machine
from tokenworks.core.task import Task, TaskData, TaskHead, TaskModel
from tokenworks.factory import Factory
from tokenworks.factory.sampling import Question
from tokenworks.factory.sweeping import Sweep, sweep, sweep_lines

SHEETS, ROWS = 120, 260
ANSWER = r"; ([\d ]+)$"


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
    """Return two numbers of three digits."""
    return rng.randrange(100, 1000), rng.randrange(100, 1000)


def write_sheets(folder: Path, kept: set[tuple[int, int]]) -> None:
    """Write the documents, without the sums that are asked later."""
    rng = random.Random(7)
    folder.mkdir(parents=True)
    for number in range(SHEETS):
        rows: list[str] = []
        while len(rows) < ROWS:
            if (drawn := pair(rng)) not in kept:
                rows.append(worked(*drawn))
        (folder / f"sheet-{number:03}.txt").write_text("\n".join(rows) + "\n")


def questions(count: int) -> dict[tuple[int, int], Question]:
    """Return so many different sums."""
    rng, found = random.Random(2024), dict[tuple[int, int], Question]()
    while len(found) < count:
        first, second = pair(rng)
        prompt = "\n" + worked(first, second).partition(" :")[0] + " :"
        body = {"prompt": prompt, "max_tokens": 64, "stop": ["\n"]}
        found[first, second] = Question(body=body, expected=str(first + second))
    return found


def make(factory: Factory, folder: Path, budget: str) -> str:
    """Have the line make the model; return its version."""
    task = Task(
        task=TaskHead(name="sums", kind="complete", owner="mailto:benchmarks@localhost"),
        data=TaskData(sources=(str(folder),)),
        model=TaskModel(base="from-scratch", budget=budget),
    )
    return factory.make(task).version.ref


def write(found: Sweep, budget: str, made_s: float, asked_s: float) -> None:
    """Write the results."""
    result = {
        "machine": machine(None),
        "task": "sums of two numbers of three digits, with working; none of them was in what the model learned from",
        "budget": budget,
        "made_s": round(made_s, 1),
        "asked_s": round(asked_s, 1),
        **msgspec.to_builtins(found),
    }
    (RESULTS / "reasoning.json").write_text(json.dumps(result, indent=2) + "\n")
    text = "\n".join(sweep_lines(found))
    page = f"# Long thinking\n\n{result['task']}; {budget}, 95 % intervals.\n\n```\n{text}\n```\n"
    (RESULTS / "reasoning.md").write_text(page)


def main() -> None:
    """Make the model and sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--budget", default="2.5e12 flops")
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    asked = questions(given.questions)
    with tempfile.TemporaryDirectory() as scratch, Factory(home=given.home or Path(scratch) / "home") as factory:
        began_s, version = time.monotonic(), "sums@1"
        if given.home is None or not (given.home / "catalog.db").exists():
            write_sheets(Path(scratch) / "sheets", set(asked))
            version = make(factory, Path(scratch) / "sheets", given.budget)
        made_s = time.monotonic()
        found = sweep(factory, version, list(asked.values()), answer=ANSWER, samples=given.samples)
        print("\n".join(sweep_lines(found)))
        write(found, given.budget, made_s - began_s, time.monotonic() - made_s)


if __name__ == "__main__":
    main()
