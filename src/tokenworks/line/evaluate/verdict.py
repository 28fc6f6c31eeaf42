"""What the gate decided and on what evidence, as JSON for the record and as lines for a terminal."""

from __future__ import annotations

from typing import Literal

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.ids import canonical_json
from tokenworks.line.evaluate.paired import Paired
from tokenworks.line.evaluate.ratios import Ratio
from tokenworks.line.evaluate.report import Figure

Decision = Literal["promote", "reject", "need-more"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of the gate."""

    name: str  # 'floor overall', 'floor class:billing', 'p95', 'not worse', 'better on gold', ...
    holds: bool
    says: str  # the evidence in words


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's answer with all that it rests on."""

    decision: Decision
    task: str
    candidate: str
    against: str  # the incumbent, 'baseline:NAME', or empty: nothing to compare with
    metric: str
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    paired: dict[str, Paired] = {}  # 'gold', 'fresh', 'general'
    ratios: dict[str, Ratio] = {}  # 'latency_p95', 'cost': candidate over incumbent
    candidate_figure: Figure | None = None
    against_figure: Figure | None = None
    more_items: int = 0
    margin: float = 0.0
    alpha: float = 0.05
    power: float = 0.8
    notes: tuple[str, ...] = ()

    @property
    def promoted(self) -> bool:
        """Whether the candidate may be released."""
        return self.decision == "promote"

    def to_json(self) -> bytes:
        """Return the verdict as canonical JSON."""
        return canonical_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Verdict:
        """Return the verdict in `data`; raise `DataError` where it is none."""
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise DataError(f"not a verdict of the gate: {error}") from None

    def story(self) -> list[str]:
        """Return the verdict as a few lines for a terminal."""
        against = self.against or "nothing"
        lines = [f"gate: {self.decision.upper()}  {self.candidate or 'candidate'} against {against}"]
        lines += [
            f"  {self.metric:<14} {title:<10} {figure}"
            for title, figure in (("candidate", self.candidate_figure), ("other", self.against_figure))
            if figure is not None
        ]
        lines += [
            f"  paired, {name:<6} {pair.difference:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}]"
            f"  {pair.wins} won, {pair.losses} lost of {pair.n}  (one-sided {1 - pair.alpha:.3g} each, {pair.method})"
            for name, pair in self.paired.items()
        ]
        lines += [f"  {'ok  ' if check.holds else 'FAIL'} {check.name}: {check.says}" for check in self.checks]
        lines += [f"  because {reason}" for reason in self.reasons]
        return lines + [f"  note: {note}" for note in self.notes]
