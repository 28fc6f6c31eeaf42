"""The guards in order: what the owner's examples contradict, who pushes it, and only then what the others say."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from tokenworks.flywheel.select.campaigns import campaigns
from tokenworks.flywheel.select.choruses import choruses
from tokenworks.flywheel.select.evidence import Culprit, Evidence, Findings, by_principal, doubted
from tokenworks.flywheel.select.outliers import HALF, members, outliers
from tokenworks.flywheel.select.reference import FOLDS, Judged, Numbers, by_everybody, by_trusted
from tokenworks.flywheel.select.takeovers import takeovers
from tokenworks.flywheel.select.triggers import triggers

LEAST_TRUSTED = 40  # examples; with fewer no p-value falls far enough below 0.05 to say anything
LEAST_NEW = 10
AGREEMENT = "disagrees with the examples and with what others say"


def guard(evidence: Evidence, key_of: Callable[[str], str]) -> Findings:
    """Return what must be held back and who is behind it. `key_of` gives the key of a principal.

    The first judgement is by the owner's examples alone, so that no number of colluding principals has a say in it;
    the second, sharper one is by everybody's rows that passed, each principal judged by the others.
    """
    findings = Findings()
    if len(evidence.trusted_texts) < LEAST_TRUSTED or len(evidence.texts) < LEAST_NEW:
        findings.notes.append(
            f"agreement was not judged: {len(evidence.trusted_texts)} trusted examples (needed are {LEAST_TRUSTED}) "
            f"and {len(evidence.texts)} new ones (needed are {LEAST_NEW})"
        )
        return findings
    classes = len(evidence.classes)
    alone = by_trusted(evidence.trusted, evidence.given, classes)
    doubtful = doubted(alone)
    pushed = _hold_campaigns(evidence, alone, doubtful, findings) + _hold_takeovers(evidence, alone, findings)
    _hold_choruses(evidence, alone, findings)
    _hold_triggers(evidence, doubtful, findings)
    _hold_outliers(evidence, doubtful, key_of, findings)
    doubtful |= _doubted_by_others(evidence, findings, classes)
    for reason, rows, chance in pushed:
        strange = [row for row in rows if row in doubtful or alone.best[row] != evidence.given.targets[row]]
        _accuse(evidence, members(evidence.principals, strange, chance=chance, reason=reason), findings)
    _hold_outliers(evidence, doubtful, key_of, findings)
    disagreeing = _doubted_by_others(evidence, findings, classes) - _vouched(evidence, alone, findings)
    findings.verdicts.hold(sorted(disagreeing), AGREEMENT)
    return findings


def _vouched(evidence: Evidence, alone: Judged, findings: Findings) -> set[int]:
    """Return the rows of labels under attack that the owner's examples do not doubt: the others may be attackers."""
    attacked = {campaign.instead_of for campaign in findings.campaigns if campaign.instead_of}
    targets = [evidence.classes[target] in attacked for target in evidence.given.targets]
    return set(np.flatnonzero(targets).tolist()) - doubted(alone)


def _hold_campaigns(
    evidence: Evidence, alone: Judged, doubtful: set[int], findings: Findings
) -> list[tuple[str, list[int], float]]:
    """Of a label that is pushed, keep only what the owner's examples would have labelled so too.

    Return for each campaign the reason, its rows, and the chance that a row of somebody honest is a doubtful one of it.
    """
    pushed: list[tuple[str, list[int], float]] = []
    for label, campaign in campaigns(evidence, doubtful):
        rows = np.flatnonzero((evidence.given.targets == label) & (alone.best != label))
        reason = f"campaign towards {campaign.label!r}"
        findings.campaigns.append(campaign)
        pushed.append((reason, findings.verdicts.hold(rows, reason), campaign.expected / len(evidence.texts)))
    return pushed


def _hold_takeovers(evidence: Evidence, alone: Judged, findings: Findings) -> list[tuple[str, list[int], float]]:
    """Hold the texts of one label that are given to another in numbers; return them as `_hold_campaigns` does."""
    taken: list[tuple[str, list[int], float]] = []
    for rows, campaign in takeovers(evidence, alone.best):
        reason = f"campaign towards {campaign.label!r} instead of {campaign.instead_of!r}"
        findings.verdicts.hold(rows, reason)
        findings.campaigns.append(campaign)
        taken.append((reason, rows, campaign.expected / len(evidence.texts)))
    return taken


def _hold_choruses(evidence: Evidence, alone: Judged, findings: Findings) -> None:
    for rows, campaign in choruses(evidence, alone.best):
        reason = f"chorus for {campaign.label!r}"
        findings.verdicts.hold(rows, reason)
        findings.campaigns.append(campaign)
        counts = by_principal(evidence.principals, rows)
        _accuse(
            evidence,
            [
                Culprit(principal=name, rows=count, doubtful=count, p_value=campaign.p_value, reason=reason)
                for name, count in sorted(counts.items())
            ],
            findings,
        )


def _hold_triggers(evidence: Evidence, doubtful: set[int], findings: Findings) -> None:
    for rows, trigger in triggers(evidence, doubtful):
        reason = f"trigger {trigger.phrase!r} for {trigger.label!r}"
        findings.verdicts.hold(rows, reason)
        findings.triggers.append(trigger)
        named = members(evidence.principals, rows, chance=1 / len(evidence.texts), reason=reason)
        _accuse(evidence, named, findings)


def _hold_outliers(evidence: Evidence, doubtful: set[int], key_of: Callable[[str], str], findings: Findings) -> None:
    _accuse(evidence, outliers(evidence.principals, doubtful), findings)
    keys = [key_of(principal) for principal in evidence.principals]
    if len(set(keys)) > 1 and keys != list(evidence.principals):
        _accuse(evidence, outliers(keys, doubtful), findings, owners=keys)


def _accuse(
    evidence: Evidence, named: Sequence[Culprit], findings: Findings, owners: Sequence[str] | None = None
) -> None:
    """Name culprits once, and hold back all that they gave where at least half of it is bad."""
    owners = evidence.principals if owners is None else owners
    known = {culprit.principal for culprit in findings.culprits}
    findings.culprits += [culprit for culprit in named if culprit.principal not in known]
    wholly = {culprit.principal for culprit in named if culprit.doubtful >= HALF * culprit.rows}
    findings.verdicts.hold(
        (row for row, owner in enumerate(owners) if owner in wholly),
        "from a principal who is mostly doubtful",
    )


def _doubted_by_others(evidence: Evidence, findings: Findings, classes: int) -> set[int]:
    """Return the rows, held or not, that the trusted examples and the rows not held so far contradict."""
    rows = len(evidence.texts)
    learned = np.zeros(rows, bool)
    learned[findings.verdicts.free(rows)] = True
    return doubted(by_everybody(evidence.trusted, evidence.given, _folds(evidence), learned, classes))


def _folds(evidence: Evidence) -> Numbers:
    """Return the fold of each row: by principal, so that nobody vouches for himself; by text where they are too few."""
    few = len(set(evidence.principals)) < 2 * FOLDS
    named: Sequence[str] = evidence.texts if few else evidence.principals
    return np.array([zlib.crc32(name.encode("utf-8", "surrogatepass")) % FOLDS for name in named], np.int64)
