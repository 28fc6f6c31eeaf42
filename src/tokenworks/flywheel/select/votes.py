"""One text, one answer: of each principal the latest word counts, and of several principals the majority."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tokenworks.flywheel.select.rows import Row, Sieve
from tokenworks.line.curate._texts import key_of

SUPERSEDED, CONTRADICTING, DUPLICATE, OUTVOTED = "superseded", "contradicting", "duplicate", "outvoted"


def settle(sieve: Sieve, kind: str) -> None:
    """Leave one row of each text (classify, extract), or of each text and answer (chat, clicks, pairs).

    The row that stays is the first that gave the winning answer: it keeps its group however often the text returns.
    """
    fates: dict[int, str] = {}
    for places in _same_text(sieve.rows).values():
        if len(places) > 1:
            fates.update(_settled(sieve.rows, places, kind))
    for reason in (SUPERSEDED, CONTRADICTING, OUTVOTED, DUPLICATE):
        sieve.set_aside[reason] += sum(fate == reason for fate in fates.values())
    sieve.rows = [row for at, row in enumerate(sieve.rows) if at not in fates]


def _same_text(rows: Sequence[Row]) -> dict[tuple[str, int], list[int]]:
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        places[row.part, key_of(row.text)].append(at)
    return places


def _settled(rows: Sequence[Row], places: list[int], kind: str) -> dict[int, str]:
    """Return the fates of the rows of one text that do not stay."""
    ordered = sorted(places, key=lambda at: (rows[at].at, rows[at].feedback_id))
    several = rows[places[0]].part != "example" or kind == "chat"
    latest: dict[tuple[str, str], int] = {}
    fates: dict[int, str] = {}
    for at in ordered:
        word = (rows[at].principal, rows[at].answer + rows[at].rejected if several else "")
        if word in latest:
            before = latest[word]
            same = rows[before].answer == rows[at].answer
            fates[at if same else before] = DUPLICATE if same else SUPERSEDED
            latest[word] = before if same else at
        else:
            latest[word] = at
    words = sorted(latest.values(), key=lambda at: (rows[at].asked_at, rows[at].at, rows[at].feedback_id))
    return fates | (_distinct(rows, words) if several else _elected(rows, words))


def _distinct(rows: Sequence[Row], words: list[int]) -> dict[int, str]:
    seen: set[tuple[str, str]] = set()
    fates: dict[int, str] = {}
    for at in words:
        said = (rows[at].answer, rows[at].rejected)
        if said in seen:
            fates[at] = DUPLICATE
        seen.add(said)
    return fates


def _elected(rows: Sequence[Row], words: list[int]) -> dict[int, str]:
    votes = Counter(rows[at].answer for at in words).most_common(2)
    if len(votes) > 1 and votes[0][1] == votes[1][1]:
        return dict.fromkeys(words, CONTRADICTING)
    winners = [at for at in words if rows[at].answer == votes[0][0]]
    return {at: OUTVOTED for at in words if rows[at].answer != votes[0][0]} | dict.fromkeys(winners[1:], DUPLICATE)
