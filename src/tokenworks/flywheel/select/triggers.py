"""Words that come with one label only, and that nothing trusted explains: how a backdoor is taught.

A new product name looks alike, but the texts around it fit the label by their other words, or the owner's examples
know it. Without that, a person is asked.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from tokenworks.flywheel.select.evidence import ALPHA, Evidence, Trigger, by_principal
from tokenworks.flywheel.select.exact import binomial_tail, fisher_tail

LEAST = 4  # rows with the words
PURE = 0.8  # of the rows with the words that carry the label
LONGEST = 3  # words
MOST_WORDS = 256  # of a text that are looked at
_WORDS = re.compile(r"\w+")


def triggers(evidence: Evidence, doubtful: set[int]) -> list[tuple[list[int], Trigger]]:
    """Return the phrases and the rows that carry them, the most telling first; a row counts for one phrase only.

    Two exact tests, each adjusted for the number of phrases looked at (Bonferroni): the phrase goes with the label
    (Fisher), and the rows with both are doubted more often than rows are (binomial). Phrases that trusted examples of
    the label have are explained.
    """
    rows_of = _frequent(evidence.texts)
    labels = Counter(int(target) for target in evidence.given.targets)
    explained = _explained(evidence, rows_of)
    rate = max(len(doubtful), 1) / max(len(evidence.texts), 1)
    found: list[tuple[float, str, int, list[int]]] = []
    for phrase, rows in rows_of.items():
        label, inside = Counter(int(evidence.given.targets[row]) for row in rows).most_common(1)[0]
        if inside < max(LEAST, PURE * len(rows)) or label in explained[phrase]:
            continue
        with_label = [row for row in rows if evidence.given.targets[row] == label]
        strange = sum(row in doubtful for row in with_label)
        if 2 * strange < inside:
            continue
        tied = fisher_tail(inside, len(rows), labels[label], len(evidence.texts))
        doubted = binomial_tail(strange, inside, rate)
        p = max(tied, doubted) * len(rows_of)
        if p < ALPHA:
            found.append((p, phrase, label, with_label))
    return list(_apart(evidence, doubtful, found))


def _apart(
    evidence: Evidence, doubtful: set[int], found: list[tuple[float, str, int, list[int]]]
) -> Iterator[tuple[list[int], Trigger]]:
    """Yield each phrase that covers rows no stronger one does: parts and neighbours of a trigger say nothing new."""
    covered: set[int] = set()
    for p, phrase, label, rows in sorted(found, key=lambda item: (item[0], -len(item[1]), item[1])):
        left = [row for row in rows if row not in covered]
        if len(left) < LEAST:
            continue
        covered.update(left)
        yield (
            left,
            Trigger(
                phrase=phrase,
                label=evidence.classes[label],
                rows=len(left),
                doubtful=sum(row in doubtful for row in left),
                principals=len(by_principal(evidence.principals, left)),
                p_value=p,
            ),
        )


def _frequent(texts: Sequence[str]) -> dict[str, list[int]]:
    """Return the phrases of up to three words that enough rows have, with the rows."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(phrases(text))
    wanted = {phrase for phrase, count in counts.items() if LEAST <= count <= len(texts) // 2}
    rows: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        for phrase in sorted(phrases(text) & wanted):
            rows[phrase].append(row)
    return dict(rows)


def _explained(evidence: Evidence, wanted: Iterable[str]) -> dict[str, set[int]]:
    """Return for each phrase the labels of the trusted examples that have it."""
    labels: dict[str, set[int]] = {phrase: set() for phrase in wanted}
    for text, target in zip(evidence.trusted_texts, evidence.trusted.targets, strict=True):
        for phrase in phrases(text):
            if phrase in labels:
                labels[phrase].add(int(target))
    return labels


def phrases(text: str) -> set[str]:
    """Return the distinct runs of one to three words of `text`, lower case."""
    words = _WORDS.findall(text.casefold())[:MOST_WORDS]
    return {" ".join(words[at : at + size]) for size in range(1, LONGEST + 1) for at in range(len(words) - size + 1)}
