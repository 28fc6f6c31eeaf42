"""The guards over the rows of a selection, each kind of task with those that fit it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenworks.flywheel.select.evidence import Evidence, Findings
from tokenworks.flywheel.select.features import Vectorise
from tokenworks.flywheel.select.guards import guard
from tokenworks.flywheel.select.pushed import pushed
from tokenworks.flywheel.select.reference import Labelled
from tokenworks.flywheel.select.rows import Row
from tokenworks.flywheel.select.signals import key_of
from tokenworks.flywheel.select.triggers import phrases
from tokenworks.flywheel.select.trusted import Trusted


def judge(rows: Sequence[Row], kind: str, trusted: Trusted, vectorise: Vectorise) -> Findings:
    """Return what must be held back of `rows`, and who is behind it."""
    if kind == "classify":
        return guard(evidence_of(rows, trusted, vectorise), key_of)
    findings = Findings()
    if kind == "embed":
        pushed(rows, (), lambda row: {row.answer}, findings)
    elif rows:
        pushed(rows, trusted.answers, lambda row: phrases(row.answer), findings)
    return findings


def evidence_of(rows: Sequence[Row], trusted: Trusted, vectorise: Vectorise) -> Evidence:
    """Return the rows and the trusted examples as the guards take them."""
    classes = sorted(trusted.classes | {row.answer for row in rows})
    number = {name: at for at, name in enumerate(classes)}
    texts = [row.text for row in rows]
    vectors = vectorise([*texts, *trusted.texts])
    return Evidence(
        texts=texts,
        given=Labelled(vectors[: len(rows)], np.array([number[row.answer] for row in rows], np.int64)),
        principals=[row.principal for row in rows],
        trusted=Labelled(vectors[len(rows) :], np.array([number[name] for name in trusted.answers], np.int64)),
        trusted_texts=trusted.texts,
        classes=classes,
    )
