"""Does stopping a vote early lose anything? As many questions as the answer needs, each sampled once.

    python benchmarks/early_stopping.py --home FOLDER [--questions 6000] [--samples 16]

FOLDER is a home in which `benchmarks/reasoning.py --home FOLDER` has made the model. Each question is one request for
all its samples, with a seed of its own. What was drawn is kept in FOLDER/early-stopping.jsonl, a line a question, so
that a run that was ended goes on. Self-consistency then thinks over the recorded samples, in every order that begins
with another one of them, beside a vote over all of them. Results go to benchmarks/results/early-stopping.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ledger import RESULTS, machine
from reasoning import ANSWER, TASK, TEMPERATURE, questions
from tokenworks.core.errors import DataError
from tokenworks.core.request import Request
from tokenworks.factory import Factory
from tokenworks.factory.curve import Early, Row, Rows, early_lines, early_of
from tokenworks.factory.replaying import FIXED, Recorded, Thought, Way
from tokenworks.factory.sampling import Question
from tokenworks.line.evaluate.intervals import proportion
from tokenworks.serving.thinking.answers import reader, spelled
from tokenworks.serving.thinking.contract import Sample
from tokenworks.settings import Settings

CONFIDENCES = (0.9, 0.95, 0.98)  # the second is the default
AT_ONCE = 8  # questions that are sampled side by side
VERSION = "sums@1"


class Drawn(msgspec.Struct, frozen=True):
    """A question's samples: the text and the tokens of each."""

    asked: dict[str, Any]  # the question's body: what was drawn for another temperature is not this one's
    samples: list[tuple[str, int, str]]  # text, tokens, finish reason


async def draw(factory: Factory, question: Question, samples: int) -> Drawn:
    """Ask for all samples at once: choice k is drawn with the seed that the k-th request of a live vote has."""
    body = {**question.body, "model": VERSION, "store": False, "n": samples, "logprobs": 0}
    given = await factory.answering.answer(Request(endpoint="completions", body=body))
    if not given.ok:
        raise DataError(f"{question.body['prompt']!r} was answered with {given.status}: {given.body}")
    choices = sorted(given.body["choices"], key=lambda one: one["index"])
    drawn = [(one["text"], len(one["logprobs"]["token_logprobs"]), one["finish_reason"]) for one in choices]
    if sum(tokens for _, tokens, _ in drawn) != given.usage.completion_tokens:
        raise DataError(f"the tokens of {question.body['prompt']!r} do not add up to {given.usage.completion_tokens}")
    return Drawn(question.body, drawn)


async def draw_missing(factory: Factory, asked: Sequence[Question], samples: int, kept: Path) -> None:
    """Draw what is not kept yet, and keep it as it comes."""
    known = read(kept)
    missing = [one for one in asked if name(one.body) not in known]
    began_s, done, turn = time.monotonic(), 0, asyncio.Semaphore(AT_ONCE)

    async def one(question: Question, file: Any) -> None:
        nonlocal done
        async with turn:
            drawn = await draw(factory, question, samples)
        file.write(msgspec.json.encode(drawn) + b"\n")
        done += 1
        if done % 100 == 0 or done == len(missing):
            file.flush()
            rate = done / (time.monotonic() - began_s)
            print(f"{len(known) + done} of {len(asked)} questions, {rate * 60:.0f} a minute", flush=True)

    with kept.open("ab") as file:
        await asyncio.gather(*[one(question, file) for question in missing])


def read(kept: Path) -> dict[str, Drawn]:
    """Return what is kept, by question; a line that a kill cut off is none."""
    found: dict[str, Drawn] = {}
    for line in kept.read_bytes().splitlines() if kept.exists() else ():
        try:
            one = msgspec.json.decode(line, type=Drawn)
        except msgspec.DecodeError:
            continue
        found[name(one.asked)] = one
    return found


def name(body: dict[str, Any]) -> str:
    """Return what tells a question from all others."""
    return json.dumps(body, sort_keys=True)


async def replay(asked: Sequence[Question], drawn: Sequence[Drawn], samples: int, way: str, confidence: float) -> Rows:
    """Return what the way came to, by question and order."""
    most, found = _most(way, samples), list[list[Row]]()
    for question, one in zip(asked, drawn, strict=True):
        sampled = recorded(question, one, confidence)
        thoughts = [await sampled.think(Way(name=way, most=most), order) for order in range(samples)]
        found.append([_row(thought, question) for thought in thoughts])
    return found


async def nobody(question: Question, number: int) -> Sample:
    """Draw nothing: all there is was drawn."""
    raise DataError("this way asks for no more")


async def same_live(factory: Factory, asked: Sequence[Question], drawn: Sequence[Drawn], samples: int) -> int:
    """Return for how many questions asking live comes to the answer, the samples and the tokens of the replay."""
    wants = {"strategy": "self-consistency", "answer": ANSWER, "budget": {"samples": samples}}
    same = 0
    for question, one in zip(asked, drawn, strict=True):
        body = {**question.body, "model": VERSION, "store": False, "reasoning": wants}
        given = await factory.answering.answer(Request(endpoint="completions", body=body))
        told = given.body["reasoning"]
        way = Way(name="self-consistency", most=samples)
        found = await recorded(question, one, 0.95).think(way, 0)
        tokens = sum(sample.completion_tokens for sample in found.samples)
        live = (told.get("answer", ""), told["samples"], given.usage.completion_tokens)
        same += live == (found.answer, len(found.samples), tokens)
    return same


def recorded(question: Question, one: Drawn, confidence: float) -> Recorded:
    """Return the samples of a question to think over."""
    row = [
        Sample(number=number, text=text, completion_tokens=tokens, finish_reason=reason)
        for number, (text, tokens, reason) in enumerate(one.samples, 1)
    ]
    sure = msgspec.structs.replace(question, asked=msgspec.structs.replace(question.asked, confidence=confidence))
    return Recorded(sure, row, reader(ANSWER), nobody, VERSION)


def _most(way: str, samples: int) -> int:
    return 1 if way == "none" else samples


def _row(thought: Thought, question: Question) -> Row:
    return Row(
        right=float(thought.answer == spelled(question.expected)),
        tokens=sum(one.completion_tokens for one in thought.samples),
        samples=len(thought.samples),
    )


def compare(asked: Sequence[Question], drawn: Sequence[Drawn], samples: int) -> dict[str, Any]:
    """Return the figures: one sample, all, and stopping early at each confidence."""
    plain, fixed = (asyncio.run(replay(asked, drawn, samples, way, 0.95)) for way in ("none", FIXED))
    early: dict[str, Early] = {}
    for confidence in CONFIDENCES:
        rows = asyncio.run(replay(asked, drawn, samples, "self-consistency", confidence))
        early[str(confidence)] = early_of(rows, fixed)
    return {
        "questions": len(drawn),
        "samples": samples,
        "one_sample": share(plain),
        "vote_over_all": share(fixed),
        "early": msgspec.to_builtins(early),
    }


def share(rows: Rows) -> dict[str, float]:
    """Return how often a way is right, with the interval of so many questions, and its tokens."""
    right = sum(sum(one.right for one in row) / len(row) for row in rows)
    found = proportion("right", right, len(rows))
    tokens = sum(sum(one.tokens for one in row) / len(row) for row in rows) / len(rows)
    return {"right": found.value, "low": found.low, "high": found.high, "tokens": tokens}


def lines(found: dict[str, Any]) -> list[str]:
    """Return the figures to read."""
    one, fixed = found["one_sample"], found["vote_over_all"]
    told = [
        f"{title:<16} right {way['right']:.4f} [{way['low']:.4f}, {way['high']:.4f}]  {way['tokens']:.1f} tokens"
        for title, way in (("one sample", one), (f"vote over {found['samples']}", fixed))
    ]
    for confidence, early in found["early"].items():
        told += ["", f"confidence {confidence}:", *early_lines(msgspec.convert(early, Early))]
    live = found["live"]
    return [*told, "", f"asked live as well: {live['same']} of {live['questions']} questions came to the same"]


def main() -> None:
    """Draw what is missing, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=6000)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--live", type=int, default=200, help="questions that are asked live as well")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    asked = list(questions(given.questions).values())
    kept = given.home / "early-stopping.jsonl"
    # In f32 a sample does not depend on what else is in the batch, so that asking live can be held against the replay.
    told = {"home": str(given.home), "engines": {"generation": "openvino", "precision": "f32"}}
    with Factory(msgspec.convert(told, Settings)) as factory:
        asyncio.run(draw_missing(factory, asked, given.samples, kept))
        known = read(kept)
        drawn = [known[name(one.body)] for one in asked]
        same = asyncio.run(same_live(factory, asked[: given.live], drawn[: given.live], given.samples))
    live = {"questions": len(asked[: given.live]), "same": same}
    found = {"machine": machine(None), "live": live, **compare(asked, drawn, given.samples)}
    print("\n".join(lines(found)))
    (given.results / "early-stopping.json").write_text(json.dumps(found, indent=2) + "\n")
    (given.results / "early-stopping.md").write_text(page(found))


def page(found: dict[str, Any]) -> str:
    """Return the results as a page."""
    task = f"{found['questions']} {TASK}, at a temperature of {TEMPERATURE:g}; 95 % intervals."
    text = "\n".join(lines(found))
    return f"# Stopping a vote early\n\n{task}\n\n```\n{text}\n```\n"


if __name__ == "__main__":
    main()
