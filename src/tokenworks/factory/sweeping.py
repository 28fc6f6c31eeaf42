"""`evaluate --sweep reasoning`: what each way of thinking brings a model on questions with known answers.

Every question is sampled once, as often as any way may draw; then each way thinks over those recorded samples, in every
order that begins with another one of them. So all ways are compared on the same draws, and none rests on their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.factory.curve import Early, Row, Rows, comparable, curve_lines, early_lines, early_of, point
from tokenworks.factory.making import Making
from tokenworks.factory.replaying import CONTINUED, FIXED, VERIFIED, Recorded, Thought, Way
from tokenworks.factory.sampling import AT_ONCE, Question, Told, asking, draw_all, entries_of
from tokenworks.gateway.openai.fields import Reasoning, Verification
from tokenworks.ledger.entries import RequestEntry
from tokenworks.serving.thinking.answers import reader, spelled
from tokenworks.serving.thinking.contract import Sample
from tokenworks.serving.thinking.measured import KIND, PLAIN, Measured, Point, choose
from tokenworks.store.nouns import Object

Entries = Mapping[str, RequestEntry]
Found = Sequence[Sequence[Thought]]  # of one way: by question, by order of its samples
MICRO = 1_000_000
SHARES = (  # besides one sample; each may draw that share of the sweep's samples
    ("self-consistency", 4), ("self-consistency", 2), ("self-consistency", 1), ("confidence", 1), ("adaptive", 1),
)  # fmt: skip


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What came out."""

    measured: Measured
    early: Early
    notes: tuple[str, ...] = ()


def sweep(
    making: Making,
    version: str,
    questions: Sequence[Question],
    *,
    answer: str = "",
    samples: int = 16,
    temperature: float | None = None,
    verifiers: Sequence[Verification] = (),
    cue: str = "",
    told: Told | None = None,
) -> Sweep:
    """Measure the ways of thinking of `version`, keep what came out as its model's default, and return it.

    Best-of-n is tried with each of `verifiers`, and with the questions' own where all of them have one.
    """
    if samples < 4:
        raise DataError(f"a sweep over {samples} samples compares nothing; draw at least 4")
    questions = [_as_asked(one, temperature, cue) for one in questions]
    ways = ways_over(samples, questions, verifiers)
    making.answering.meter()
    ask = asking(making.answering.answer, version)
    drawn = asyncio.run(draw_all(questions, samples, ask, told or (lambda done, of: None)))
    read = reader(answer)
    recorded = [Recorded(one, row, read, ask, version) for one, row in zip(questions, drawn, strict=True)]
    thoughts = [asyncio.run(think_all(recorded, way)) for way in ways]
    entries = entries_of(making.ledger_root, [*drawn, *_taken(thoughts)])
    rows = [_rows(found, questions, entries) for found in thoughts]
    points = comparable(
        [_point(way, found, rows[0], _eligible(way, questions)) for way, found in zip(ways, rows, strict=True)]
    )
    worth = making.settings.reasoning.worth
    best, why = choose(points, worth)
    chosen = ways[points.index(best)]
    measured = Measured(
        model=version.partition("@")[0],
        version=version,
        at=making.clock.now(),
        questions=len(questions),
        points=tuple(points),
        chosen=best.strategy,
        samples=best.most,
        why=why,
        worth=worth,
        joules_per_token=_most_joules(entries),
        verifier=None if chosen.verifier is None else msgspec.to_builtins(chosen.verifier),
        cue=questions[0].asked.cue if best.strategy == CONTINUED else "",
    )
    _keep(making, measured)
    early = rows[ways.index(Way(name="self-consistency", most=samples))]
    notes = tuple(_notes(ways, thoughts, entries))
    return Sweep(measured=measured, early=early_of(early, rows[-1]), notes=notes)


def ways_over(samples: int, questions: Sequence[Question], verifiers: Sequence[Verification]) -> list[Way]:
    """Return the ways that can be tried: the first is one sample, the last the vote over all."""
    ways = [Way(name=name, most=samples // share) for name, share in SHARES]
    own = [one.asked.verifier is not None for one in questions]
    if any(own) and not all(own):
        raise DataError(f"{own.count(False)} of {len(own)} questions have no verifier; give each one, or none")
    for verifier in (*verifiers, *([None] if any(own) else [])):
        ways += [Way(name=VERIFIED, most=samples // share, verifier=verifier) for share in (4, 1)]
    most_rounds = 1 + max(one.asked.rounds for one in questions)
    return [
        Way(name=PLAIN, most=1),
        *ways,
        Way(name=CONTINUED, most=min(samples, most_rounds)),
        Way(name=FIXED, most=samples),
    ]


async def think_all(recorded: Sequence[Recorded], way: Way) -> list[list[Thought]]:
    """Return what the way comes to for each question, over the orders that it is tried in."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(question: Recorded) -> list[Thought]:
        async with turn:
            return [await question.think(way, order) for order in range(way.orders or len(question.row))]

    return list(await asyncio.gather(*[one(question) for question in recorded]))


def _as_asked(question: Question, temperature: float | None, cue: str) -> Question:
    asked = question.asked
    if cue and asked.cue == Reasoning().cue:
        asked = msgspec.structs.replace(asked, cue=cue)
    body = question.body if temperature is None else {**question.body, "temperature": temperature}
    return msgspec.structs.replace(question, body=body, asked=asked)


def _taken(thoughts: Sequence[Found]) -> list[tuple[Sample, ...]]:
    return [one.taken for found in thoughts for orders in found for one in orders]


def _rows(found: Found, questions: Sequence[Question], entries: Entries) -> Rows:
    costed = any(entry.cost_micro for entry in entries.values())
    return [
        [_row(one, spelled(question.expected), entries, costed) for one in orders]
        for orders, question in zip(found, questions, strict=True)
    ]


def _row(thought: Thought, expected: str, entries: Entries, costed: bool) -> Row:
    known = [entries.get(one.id) for one in thought.taken]
    joules = [None if one is None else one.joules for one in known]
    return Row(
        right=float(thought.answer == expected),
        tokens=sum(one.completion_tokens for one in thought.taken),
        samples=len(thought.samples),
        joules=None if None in joules else sum(one or 0.0 for one in joules),
        cost=sum(one.cost_micro for one in known if one is not None) / MICRO if costed else None,
    )


def _point(way: Way, rows: Rows, plain: Rows, eligible: bool) -> Point:
    by = way.verifier.type if way.verifier else "of each" if way.name == VERIFIED else ""
    return point(way.name, way.most, rows, plain, verifier=by, eligible=eligible)


def _eligible(way: Way, questions: Sequence[Question]) -> bool:
    """Return whether a way may become the default of callers who ask for none.

    Not with what fits one question alone, nor with a judge: no caller's budget can bound another model (0367).
    """
    if way.name == VERIFIED:
        return way.verifier is not None and way.verifier.type != "judge"
    if way.name == CONTINUED:
        return len({one.asked.cue for one in questions}) == 1
    return way.name != FIXED


def _most_joules(entries: Entries) -> float | None:
    """Return the most joules that a token of any sample took, with two standard errors; None where none was metered."""
    each = [
        one.joules * (1 + 2 * one.joules_error) / max(1, one.prompt_tokens + one.completion_tokens)
        for one in entries.values()
        if one.joules is not None
    ]
    return max(each, default=None)


def _notes(ways: Sequence[Way], thoughts: Sequence[Found], entries: Entries) -> Iterator[str]:
    for way, found in zip(ways, thoughts, strict=True):
        noted = [one.notes[0] for orders in found for one in orders if one.notes]
        if noted:
            by = way.verifier.type if way.verifier is not None else ""
            yield f"{' '.join((way.name, by)).strip()} up to {way.most}, {len(noted)} times: {noted[0]}"
    meters = {one.meter for one in entries.values() if one.joules is not None}
    if meters:
        unmetered = sum(one.joules is None for one in entries.values())
        yield f"joules by {', '.join(sorted(meters))}; {unmetered} of {len(entries)} samples were not metered"


def _keep(making: Making, measured: Measured) -> None:
    """Make it the model's default; of two sweeps at once one is kept whole."""
    objects, body = making.catalog.objects, msgspec.to_builtins(measured)
    known = objects.get(KIND, measured.model)
    if known is None:
        objects.add(Object(kind=KIND, id=measured.model, scope=measured.model, body=body, created_at=measured.at))
    else:
        objects.update(msgspec.structs.replace(known, body=body))


def sweep_lines(found: Sweep) -> list[str]:
    """Return the curve as a table, the saving of stopping early, and the default with its reason."""
    measured = found.measured
    return [
        f"{measured.version}: {measured.questions} questions",
        *curve_lines(measured.points),
        *early_lines(found.early),
        *found.notes,
        f"default: {measured.chosen} (up to {measured.samples} samples): {measured.why}",
    ]
