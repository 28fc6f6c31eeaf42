"""Many voices with one word: principals who only ever say one label, of texts that do not look like it.

People who only ever meet one kind of question are no chorus: their texts look like what they say.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tokenworks.flywheel.select.evidence import ALPHA, Campaign, Evidence
from tokenworks.flywheel.select.exact import binomial_tail
from tokenworks.flywheel.select.reference import Numbers

LEAST = 5  # principals
HALF = 0.5  # of the label's rows: less does not decide what is learned of it


def choruses(evidence: Evidence, looks: Numbers) -> list[tuple[list[int], Campaign]]:
    """Return the rows of each chorus, and the label that it pushes.

    `looks` is the label that the owner's examples give each row. How often those who say nothing else agree with it is
    compared with how often all others do: exact binomial test, adjusted for the number of labels (Bonferroni).
    """
    given = evidence.given.targets
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, principal in enumerate(evidence.principals):
        rows_of[principal].append(row)
    voices: dict[int, list[list[int]]] = defaultdict(list)
    for rows in rows_of.values():
        if len(rows) > 1 and len(set(given[rows].tolist())) == 1:
            voices[int(given[rows[0]])].append(rows)
    alike, others = looks == given, np.ones(len(given), bool)
    others[[row for some in voices.values() for rows in some for row in rows]] = False
    if not others.any():
        return []
    usual = float((~alike[others]).mean())
    found: list[tuple[list[int], Campaign]] = []
    for label, some in sorted(voices.items()):
        rows = sorted(row for mine in some for row in mine)
        differ = int((~alike[rows]).sum())
        p = min(1.0, len(evidence.classes) * binomial_tail(differ, len(rows), usual))
        if p < ALPHA and len(some) >= LEAST and len(rows) >= HALF * (given == label).sum():
            campaign = Campaign(
                label=evidence.classes[label],
                rows=len(rows),
                doubtful=differ,
                expected=round(usual * len(rows), 2),
                p_value=p,
                principals=len(some),
            )
            found.append((rows, campaign))
    return found
