"""A place in a text that somebody would not like to see repeated."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """`text[start:end]` is of `kind`: 'email', 'iban', 'secret:github-token', ... The value itself is never kept."""

    kind: str
    start: int
    end: int


def settle(findings: Sequence[Finding]) -> list[Finding]:
    """Return `findings` by position; of two that overlap a secret stays, else the one that begins first."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda finding: (finding.start, -finding.end)):
        if kept and finding.start < kept[-1].end:
            if _is_secret(finding) and not _is_secret(kept[-1]):
                kept[-1] = finding
            continue
        kept.append(finding)
    return kept


def _is_secret(finding: Finding) -> bool:
    return finding.kind.startswith("secret:")


def mask(text: str, findings: Sequence[Finding]) -> str:
    """Return `text` with `[kind]` in place of each finding."""
    pieces: list[str] = []
    at = 0
    for finding in settle(findings):
        pieces += (text[at : finding.start], f"[{finding.kind}]")
        at = finding.end
    return "".join([*pieces, text[at:]])
