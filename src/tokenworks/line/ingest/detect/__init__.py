"""Find secrets and structured personal data by pattern and checksum. Names of people need a model and are not here."""

from __future__ import annotations

from tokenworks.line.ingest.detect.finding import Finding, mask, settle
from tokenworks.line.ingest.detect.personal import find_personal
from tokenworks.line.ingest.detect.secrets import find_secrets

__all__ = ["Finding", "find", "mask"]


def find(text: str) -> list[Finding]:
    """Return the findings in `text` by position, without overlaps; a secret wins over what looks personal in it."""
    return settle(find_secrets(text) + find_personal(text))
