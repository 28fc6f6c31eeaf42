"""What a trial shows, for the record and for a terminal."""

from __future__ import annotations

from typing import Literal

import msgspec

from tokenworks.core.ids import canonical_json
from tokenworks.flywheel.trial.terms import Terms

Decision = Literal["", "roll-back", "promote", "undecided"]


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """One thing watched. Rates are shares of failures; evidence is told relative to what proves: 1 is proof."""

    name: str  # quality | latency | failures
    says: str
    candidate: float
    incumbent: float
    candidate_units: int  # users, or requests without one
    incumbent_units: int
    harm: float
    passes: float
    gain: float
    margin: float
    ignored: dict[str, int] = {}


class TrialReport(msgspec.Struct, frozen=True, kw_only=True):
    """A trial so far."""

    terms: Terms
    decision: Decision
    reasons: tuple[str, ...]
    seconds: float
    monitors: tuple[Watched, ...]

    def to_json(self) -> bytes:
        """Return the report as canonical JSON, its story included."""
        return canonical_json({**msgspec.to_builtins(self), "story": self.story()})

    def story(self) -> list[str]:
        """Return the report in lines."""
        terms = self.terms
        head = f"{terms.mode}: {(self.decision or 'goes on').upper()}  {terms.candidate} against {terms.incumbent}"
        lines = [f"{head}, {terms.share:.0%} of users, {self.seconds / 3600:.1f} h, alpha {terms.alpha:g}"]
        for one in self.monitors:
            proof = f"harm {_proof(one.harm)}, within {one.margin:g} {_proof(one.passes)}"
            lines.append(f"  {one.says}; {proof}")
            lines += [f"    not counted: {count} of {why}" for why, count in sorted(one.ignored.items())]
        return lines + [f"  because {reason}" for reason in self.reasons]


def _proof(evidence: float) -> str:
    """Say how far the evidence is: it must reach 1 / alpha, so what is told is its share of that."""
    return "proven" if evidence >= 1 else f"{evidence:.0%} of the evidence"
