"""The line's detectors as the gateway asks them: what stands in a text, and which label it should carry."""

from __future__ import annotations

from collections import Counter

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.gateway.looking import Looking
from tokenworks.gateway.moderations import Checked, Detectors, Place
from tokenworks.line.ingest.detect.finding import settle
from tokenworks.line.ingest.detect.personal import KINDS as PERSONAL
from tokenworks.line.ingest.detect.personal import find_personal
from tokenworks.line.ingest.detect.secrets import KINDS as SECRETS
from tokenworks.line.ingest.detect.secrets import find_secrets
from tokenworks.line.ingest.labels import document_label


def detectors() -> Detectors:
    """Return what looks for personal data and secrets, as documents are looked at when they are ingested."""
    return Detectors(check=check, kinds=(*PERSONAL, *SECRETS))


def looking(detect: str) -> Looking | None:
    """Return what raises the labels of prompts, as the setting `policy.detect` wants it."""
    if detect not in ("off", "raise"):
        raise ConfigError(f'policy.detect is {detect!r}; write "off" or "raise"')
    return Looking(lambda text: check(text).label) if detect == "raise" else None


def check(text: str) -> Checked:
    """Return what stands in `text`, by position, and the label that a document with it would get at least."""
    found = settle([*find_personal(text), *find_secrets(text)])
    counts = Counter(one.kind for one in found)
    label, _ = document_label([Label.PUBLIC], "", counts, {})
    return Checked(places=tuple(Place(kind=one.kind, start=one.start, end=one.end) for one in found), label=label)
