"""Which label a document carries: folder rules, its own words and the detectors; the highest wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label, highest
from tokenworks.line.ingest.params import LabelRule, Source
from tokenworks.line.ingest.patterns import matches

UNKNOWN = "unknown-label"  # counted where a document names a label that does not exist
_RAISES = (  # detector or its prefix, how many findings, the least label from then on
    ("secret", 1, Label.RESTRICTED),
    ("us-ssn", 1, Label.RESTRICTED),
    ("uk-nhs", 1, Label.RESTRICTED),
    ("credit-card", 1, Label.RESTRICTED),
    ("iban", 1, Label.CONFIDENTIAL),
    # One address is a contact; a list of them is a register of people.
    ("email", 20, Label.CONFIDENTIAL),
    ("phone", 20, Label.CONFIDENTIAL),
)


def folder_labels(source: Source, path: str) -> list[Label]:
    """Return what the source and its rules state for `path`."""
    stated = [source.label] if source.label else []
    stated += [rule.label for rule in source.rules if matches(path, rule.glob)]
    return [Label.parse(label) for label in stated]


def document_label(
    stated: Iterable[Label], own: str, found: Mapping[str, int], dictionaries: Mapping[str, Label]
) -> tuple[Label, bool]:
    """Return the label, and whether the document named one that does not exist (then it counts as restricted)."""
    said = list(stated)
    unknown = False
    if own.strip():
        try:
            said.append(Label.parse(own))
        except ConfigError:  # fail closed: somebody wanted to restrict it, in other words
            said.append(Label.RESTRICTED)
            unknown = True
    base = highest(said) if said else Label.INTERNAL
    raised = [_raised(kind, count, dictionaries) for kind, count in found.items()]
    return highest([base, *raised]), unknown


def _raised(kind: str, count: int, dictionaries: Mapping[str, Label]) -> Label:
    group = kind.split(":", 1)[0]
    if group == "dictionary":
        return dictionaries.get(kind, Label.CONFIDENTIAL)
    return highest(label for name, least, label in _RAISES if name == group and count >= least)


def check_rules(rules: Iterable[LabelRule]) -> None:
    """Raise `ConfigError` where a rule names a label that does not exist."""
    for rule in rules:
        Label.parse(rule.label)
