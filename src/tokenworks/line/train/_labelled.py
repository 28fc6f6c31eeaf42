"""Labelled texts as a classifier wants them: read, checked, contradictions settled. Knows no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from tokenworks.core.errors import DataError

MAX_CONTRADICTING = 0.2  # of the rows; above, the labels say nothing that could be learnt


class Row(msgspec.Struct, frozen=True):
    """One example."""

    text: str
    label: str
    weight: float = 1.0  # how far the label is trusted, 0 to 1


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """Examples ready to learn from: distinct texts, class numbers in the order of the sorted names."""

    texts: list[str]
    targets: list[int]
    classes: list[str]
    weights: list[float]
    notes: list[str]  # what was left out, for people

    @property
    def smallest(self) -> int:
        """Return how many examples the rarest class has."""
        return min(Counter(self.targets).values())


def read_labelled(lines: Iterable[bytes], *, where: str = "training examples") -> Labelled:
    """Return the examples of JSON `lines`; raise `DataError` when nothing can be learnt from them."""
    rows = list(_parse(lines, where))
    filled = [row for row in rows if row.text.strip() and row.label.strip() and row.weight]
    votes: dict[str, Counter[str]] = {}
    weights: dict[tuple[str, str], float] = {}
    first: dict[str, str] = {}
    for row in filled:
        key = " ".join(row.text.split()).casefold()
        votes.setdefault(key, Counter())[row.label.strip()] += 1
        first.setdefault(key, row.text)
        about = key, row.label.strip()
        weights[about] = max(row.weight, weights.get(about, 0.0))
    kept = {key: label for key, counts in votes.items() if (label := _winner(counts)) is not None}
    notes = _notes(len(rows) - len(filled), votes, kept, first)
    _check(votes, kept, first, len(filled), where)
    classes = sorted(set(kept.values()))
    number = {name: at for at, name in enumerate(classes)}
    targets = [number[label] for label in kept.values()]
    few = [classes[at] for at, count in Counter(targets).items() if count < 2]
    if few:
        notes.append(f"{len(few)} classes have a single example, for example {min(few)!r}")
    return Labelled(
        texts=[first[key] for key in kept],
        targets=targets,
        classes=classes,
        weights=[weights[about] for about in kept.items()],
        notes=notes,
    )


def _parse(lines: Iterable[bytes], where: str) -> Iterable[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=Row)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise DataError(f'{where} line {number}: {error}; a row is {{"text": "...", "label": "..."}}') from error
        if not 0 <= row.weight <= 1:
            raise DataError(
                f"{where} line {number}: weight is {row.weight:g}; it says how far a label is trusted, 0 to 1"
            )
        yield row


def _winner(counts: Counter[str]) -> str | None:
    """Return the label that most rows give, None where two are level."""
    ranked = counts.most_common(2)
    return None if len(ranked) == 2 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def _check(votes: dict[str, Counter[str]], kept: dict[str, str], first: dict[str, str], rows: int, where: str) -> None:
    if rows == 0:
        raise DataError(f"{where}: no row has both a text and a label; nothing to learn from")
    against = {key: counts for key, counts in votes.items() if len(counts) > 1}
    share = sum(sum(counts.values()) for counts in against.values()) / rows
    if share > MAX_CONTRADICTING:
        key = next(iter(against))
        raise DataError(
            f"{where}: {share:.0%} of the rows contradict each other (the limit is {MAX_CONTRADICTING:.0%}); for"
            f" example {first[key][:60]!r} is labelled {', '.join(sorted(against[key]))}; settle the labels first"
        )
    names = set(kept.values())
    if len(names) < 2:
        only = ", ".join(map(repr, names)) or "none"
        raise DataError(f"{where}: {len(names)} class ({only}); a classifier needs examples of at least two")


def _notes(empty: int, votes: dict[str, Counter[str]], kept: dict[str, str], first: dict[str, str]) -> list[str]:
    notes = []
    if empty:
        notes.append(f"{empty} rows without a text, a label or a weight were left out")
    repeated = sum(sum(counts.values()) - 1 for counts in votes.values())
    if repeated:
        notes.append(f"{repeated} rows repeat a text and count once")
    against = [key for key, counts in votes.items() if len(counts) > 1]
    if against:
        level = sum(key not in kept for key in against)
        example = f"{first[against[0]][:60]!r}: {', '.join(sorted(votes[against[0]]))}"
        notes.append(
            f"{len(against)} texts carry contradicting labels; the majority won, {level} without one were left out"
            f" ({example})"
        )
    return notes
