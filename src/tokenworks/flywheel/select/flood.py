"""Who says the same thing over and over, or takes back what he says: it teaches nothing and hides something."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tokenworks.flywheel.select.evidence import ALPHA, Culprit, Findings
from tokenworks.flywheel.select.exact import fisher_tail, holm
from tokenworks.flywheel.select.rows import Row
from tokenworks.line.curate._texts import key_of

REPEATS = 40  # rows that only repeat what the same principal said
SHARE = 0.75  # of what it said
FICKLE = 3  # different answers of one principal to one text
_LEAST_PRINCIPALS = 5  # fewer: nobody to compare with


def floods(rows: Sequence[Row], findings: Findings) -> None:
    """Hold back the rows of principals who repeat themselves far more than others do, and texts they waver on."""
    said: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for at, row in enumerate(rows):
        said[row.principal][key_of(f"{row.part} {row.text}")].append(at)
    _repeating(said, len(rows), findings)
    for principal, texts in sorted(said.items()):
        wavering = [places for places in texts.values() if len({rows[at].answer for at in places}) >= FICKLE]
        for places in wavering:
            findings.verdicts.hold(places, f"{principal} gave {FICKLE} or more different answers to one text")


def _repeating(said: dict[str, dict[int, list[int]]], total: int, findings: Findings) -> None:
    names = sorted(said)
    every = [sum(map(len, said[name].values())) for name in names]
    again = [count - len(said[name]) for name, count in zip(names, every, strict=True)]
    if len(names) < _LEAST_PRINCIPALS:
        return
    p_values = holm([fisher_tail(a, n, sum(again), total) for a, n in zip(again, every, strict=True)])
    for name, count, repeats, p in zip(names, every, again, p_values, strict=True):
        if repeats >= REPEATS and repeats >= SHARE * count and p < ALPHA:
            findings.culprits.append(Culprit(principal=name, rows=count, doubtful=repeats, p_value=p, reason="flood"))
            findings.verdicts.hold((at for places in said[name].values() for at in places), "flood of repetitions")
