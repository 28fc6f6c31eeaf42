"""Ledger and bodies up to a point in time -> the signals of a task, after the rules that come before reading a text.

Twice through the log: what is held in memory grows with the feedback, never with the requests.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from tokenworks.core.ids import sha256_hex
from tokenworks.core.label import Label
from tokenworks.core.task import Task
from tokenworks.flywheel.select.consent import SEARCH, Rules
from tokenworks.flywheel.select.signals import Collected, Given, Signal, principal_of
from tokenworks.flywheel.select.texts import Said, answer_of, said
from tokenworks.ledger.bodies import Bodies, named
from tokenworks.ledger.entries import ErasureEntry, FeedbackEntry, RequestEntry
from tokenworks.ledger.reader import read

MOST_SIGNALS = 300_000  # requests with feedback, the newest; older ones are left out
MOST_UNLABELLED = 5_000  # requests without feedback
_CHUNK = 20_000  # requests whose texts are in memory together
_HEAD_BYTES = 4096
_encode = msgspec.json.Encoder().encode


@dataclass
class _Found:
    """What the log says, without texts."""

    feedback: dict[str, list[FeedbackEntry]] = field(default_factory=lambda: defaultdict(list))
    erasures: list[ErasureEntry] = field(default_factory=list)
    mine: dict[str, RequestEntry] = field(default_factory=dict)  # of the task, with feedback
    compared: dict[str, RequestEntry] = field(default_factory=dict)  # whose answers somebody liked less
    sample: list[tuple[int, str]] = field(default_factory=list)  # a heap of some without feedback
    sampled: dict[str, RequestEntry] = field(default_factory=dict)
    answered: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)

    def about(self, entry: RequestEntry) -> list[FeedbackEntry]:
        """Return what its own tenant said of a request: callers choose ids, and another tenant may choose the same."""
        return [one for one in self.feedback.get(entry.request_id, ()) if one.tenant in ("", entry.tenant)]


def collect(task: Task, ledger_root: Path, bodies: Bodies, *, until: float, file: BinaryIO) -> Collected:
    """Write the signals of `task` to `file`, oldest first, after a head line; return what the head says.

    Entries later than `until` are not looked at, but for erasures: those count whenever they came.
    """
    found = _feedback(ledger_root, until)
    rules = Rules(task, until, found.erasures)
    _without_erased(found, rules)
    _requests(found, rules, ledger_root)
    usable = _usable(found, rules)
    rows = file.tell()
    head = Collected(
        task=task.name,
        until=until,
        requests=found.answered,
        feedback=(known := sum(len(found.about(entry)) for entry in found.mine.values())),
        unknown=sum(map(len, found.feedback.values())) - known,
        set_aside={},
        label="public",
        principals=0,
    )
    return _written(file, rows, head, usable, found, rules, bodies)


def _feedback(ledger_root: Path, until: float) -> _Found:
    found = _Found()
    for _, entry in read(ledger_root):
        if isinstance(entry, FeedbackEntry) and entry.at <= until:
            found.feedback[entry.request_id].append(entry)
        elif isinstance(entry, ErasureEntry):
            found.erasures.append(entry)
    return found


def _without_erased(found: _Found, rules: Rules) -> None:
    """Forget what erased users said of others' requests."""
    for name, some in list(found.feedback.items()):
        left = [entry for entry in some if not rules.gone(entry.tenant, entry.user, entry.at)]
        if len(left) < len(some):
            found.set_aside["feedback of an erased user"] += len(some) - len(left)
            found.feedback[name] = left
        if not left:
            del found.feedback[name]


def _requests(found: _Found, rules: Rules, ledger_root: Path) -> None:
    """Find the requests that feedback is about, those it compares with, and a sample of the others."""
    compared = {entry.preferred_over for some in found.feedback.values() for entry in some if entry.preferred_over}
    for _, entry in read(ledger_root):
        if not isinstance(entry, RequestEntry) or entry.at > rules.until:
            continue
        name = entry.request_id
        if name in compared:
            found.compared[named(entry.tenant, name)] = entry
        if not rules.is_about(entry):
            continue
        found.answered += entry.outcome == "ok"
        if found.about(entry):
            found.mine[named(entry.tenant, name)] = entry
        else:
            _sample(found, rules, entry)


def _sample(found: _Found, rules: Rules, entry: RequestEntry) -> None:
    """Keep the entries whose ids have the lowest hashes: a random sample that no order of reading changes."""
    rank = -int.from_bytes(blake2b(entry.request_id.encode(), digest_size=8).digest())  # a heap gives up its least
    here = (rank, named(entry.tenant, entry.request_id))
    full = len(found.sample) >= MOST_UNLABELLED
    if (full and here < found.sample[0]) or rules.why_not(entry):
        return
    if full:
        found.sampled.pop(heapq.heapreplace(found.sample, here)[1], None)  # an id that was chosen twice is there once
    else:
        heapq.heappush(found.sample, here)
    found.sampled[here[1]] = entry


def _usable(found: _Found, rules: Rules) -> list[RequestEntry]:
    """Return the requests whose texts may be read, oldest first; count the others by reason."""
    usable: list[RequestEntry] = []
    for entry in found.mine.values():
        reason = rules.why_not(entry)
        if reason:
            found.set_aside[reason] += 1
        else:
            usable.append(entry)
    usable.sort(key=_when)
    if len(usable) > MOST_SIGNALS:
        found.set_aside["more than are looked at"] += len(usable) - MOST_SIGNALS
        del usable[:-MOST_SIGNALS]
    return sorted([*usable, *found.sampled.values()], key=_when)


def _when(entry: RequestEntry) -> tuple[float, str]:
    return entry.at, entry.request_id


def _written(
    file: BinaryIO,
    start: int,
    head: Collected,
    usable: Sequence[RequestEntry],
    found: _Found,
    rules: Rules,
    bodies: Bodies,
) -> Collected:
    """Write head and rows. The head comes first and is known last: its place is kept free with spaces."""
    file.write(b" " * _HEAD_BYTES + b"\n")
    label, principals = Label.PUBLIC, set[str]()
    for signal in _signals(usable, found, rules, bodies):
        label = max(label, Label.parse(signal.label))
        principals.update(given.principal for given in signal.feedback)
        file.write(_encode(signal) + b"\n")
    head = msgspec.structs.replace(
        head, set_aside=dict(sorted(found.set_aside.items())), label=str(label), principals=len(principals)
    )
    end = file.tell()
    file.seek(start)
    file.write(_encode(head).ljust(_HEAD_BYTES))
    file.seek(end)
    return head


def _signals(usable: Sequence[RequestEntry], found: _Found, rules: Rules, bodies: Bodies) -> Iterator[Signal]:
    rest = iter(usable)
    while chunk := list(islice(rest, _CHUNK)):
        given = [one for entry in chunk for one in found.about(entry)]
        texts = bodies.get_many(named(entry.tenant, entry.request_id) for entry in chunk)
        corrections = bodies.get_corrections(one.feedback_id for one in given if one.has_correction)
        others = _others(given, found, rules, bodies)
        for entry in chunk:
            kept = _own(entry, texts.get(named(entry.tenant, entry.request_id)))
            heard = said(entry.endpoint, *kept) if kept is not None else None
            if heard is None:
                if named(entry.tenant, entry.request_id) in found.mine:
                    found.set_aside["no text kept" if kept is None else "nothing to learn from its text"] += 1
                continue
            feedback = tuple(
                _given(one, entry, corrections, others)
                for one in sorted(found.about(entry), key=lambda one: (one.at, one.feedback_id))
            )
            yield _signal(entry, heard, feedback)


def _own(entry: RequestEntry, kept: tuple[bytes, bytes] | None) -> tuple[bytes, bytes] | None:
    """Return the texts if they are the request's: in old homes two tenants that chose one id shared a place."""
    if kept is None or not entry.prompt_digest:
        return kept
    return kept if sha256_hex(bytes.fromhex(entry.salt) + kept[0]) == entry.prompt_digest else None


def _others(given: Sequence[FeedbackEntry], found: _Found, rules: Rules, bodies: Bodies) -> Mapping[str, str]:
    """Return the answers that were liked less, where they may be learned from too."""
    wanted = {named(one.tenant, one.preferred_over) for one in given if one.preferred_over}
    there = {name: found.compared[name] for name in wanted if name in found.compared}
    may = {name: entry for name, entry in there.items() if not rules.why_not(entry) and rules.is_about(entry)}
    texts = bodies.get_many(may)
    own = {name: _own(may[name], kept) for name, kept in texts.items()}
    return {name: answer_of(may[name].endpoint, kept[1]) for name, kept in own.items() if kept is not None}


def _given(one: FeedbackEntry, entry: RequestEntry, corrections: Mapping[str, str], others: Mapping[str, str]) -> Given:
    # Who asked and who says so without naming a user is taken for the same person where the key is the same.
    user = one.user or (entry.user if one.key_id == entry.key_id else "")
    return Given(
        feedback_id=one.feedback_id,
        at=one.at,
        principal=principal_of(one.key_id, user),
        rating=one.rating,
        correction=corrections.get(one.feedback_id),
        outcome=one.outcome,
        signal=one.signal,
        preferred_over=one.preferred_over,
        other_answer=others.get(named(one.tenant, one.preferred_over)),
    )


def _signal(entry: RequestEntry, heard: Said, feedback: tuple[Given, ...]) -> Signal:
    return Signal(
        request_id=entry.request_id,
        at=entry.at,
        principal=principal_of(entry.key_id, entry.user),
        user=entry.user,
        conversation=entry.conversation,
        label=entry.label or "public",
        version=entry.version,
        search=entry.endpoint == SEARCH,
        text=heard.text,
        messages=heard.messages,
        tools=heard.tools,
        answer=heard.answer,
        confidence=heard.confidence,
        feedback=feedback,
    )
