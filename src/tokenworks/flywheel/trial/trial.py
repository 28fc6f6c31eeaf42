"""A trial: outcomes in, one decision out. Pure: it knows neither ledger nor clock, and its state travels as bytes."""

from __future__ import annotations

from typing import Literal, Self

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.flywheel.trial.bets import Wealth
from tokenworks.flywheel.trial.monitor import Arm, Monitor
from tokenworks.flywheel.trial.report import Decision, TrialReport, Watched
from tokenworks.flywheel.trial.terms import Terms

Name = Literal["quality", "latency", "failures"]


class Trial(msgspec.Struct, kw_only=True):
    """Everything that a trial has seen, and what it came to. Once decided it takes nothing more."""

    terms: Terms
    monitors: dict[Name, Monitor]
    decision: Decision = ""
    reasons: tuple[str, ...] = ()
    last_at: float = 0.0

    @classmethod
    def begin(cls, terms: Terms) -> Self:
        """Return a trial that has seen nothing yet."""
        quality = terms.margin if terms.mode == "canary" else terms.margin / 2  # pairs are told at half their size
        monitors: dict[Name, Monitor] = {
            "quality": _monitor(terms, "quality", harm=0.0, margin=quality, guess=0.1),
            "failures": _monitor(terms, "failures", harm=0.0, margin=terms.failure_margin, guess=0.01),
        }
        if terms.slow_s > 0:
            margin = terms.slow_margin
            monitors["latency"] = _monitor(terms, "latency", harm=margin, margin=margin, guess=0.05)
        return cls(terms=terms, monitors=monitors, last_at=terms.began_at)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the trial kept in `data`; raise `DataError` where it is none."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise DataError(f"not the state of a trial ({error}); begin again: the ledger has all it needs") from None

    def to_bytes(self) -> bytes:
        """Return the state: `from_bytes` goes on from it exactly."""
        return msgspec.msgpack.encode(self)

    def observe(
        self,
        arm: Arm,
        *,
        at: float,
        user: str = "",
        success: float | None = None,
        slow: bool | None = None,
        failed: bool | None = None,
        source: str = "",
    ) -> Decision:
        """Take what is newly known of one request of `arm`; return the decision, empty while there is none.

        `success` is in [0, 1]; `source` is who gave that verdict. A request without `user` stands for itself.
        """
        told: tuple[tuple[Name, float | None], ...] = (
            ("quality", None if success is None else 1.0 - success),
            ("latency", slow),
            ("failures", failed),
        )
        # A shadow answers beside the incumbent: its users are in both arms.
        unit = f"{arm} {user}" if user and self.terms.mode == "shadow" else user
        for name, outcome in told:
            if outcome is not None and name in self.monitors and not self.decision:
                if not 0 <= outcome <= 1:
                    raise DataError(f"{name} of a request is {outcome}; an outcome lies between 0 and 1")
                giver = source if name == "quality" else ""
                self.monitors[name].observe(arm, float(outcome), at=at, user=unit, source=giver)
        return self.tick(at)

    def observe_pair(self, *, at: float, user: str, incumbent: float, candidate: float, source: str = "") -> Decision:
        """Take the successes of both models on the same request, of which a shadow's is shown to nobody."""
        worse = 0.5 + (incumbent - candidate) / 2
        if not self.decision:
            self.monitors["quality"].observe("candidate", worse, at=at, user=user, source=source)
        return self.tick(at)

    def tick(self, now: float) -> Decision:
        """Let time pass, decide if it can be decided, and return the decision."""
        if self.decision:
            return self.decision
        self.last_at = max(self.last_at, now)
        for monitor in self.monitors.values():
            monitor.tick(self.last_at)
        # Bonferroni, not the mean of the three: each bet is fair only to one who does not see the other two.
        share = self.terms.alpha / len(self.monitors)
        harmed = [one for one in self.monitors.values() if one.harm.proven(share)]
        if harmed:
            self._decide("roll-back", [f"the candidate is worse: {_words(one)}" for one in harmed])
        elif self._passed():
            self._decide("promote", [f"not worse: {_words(one)}" for one in self._needed()])
        elif self.last_at >= self.terms.began_at + self.terms.longest_s:
            self._decide("undecided", self._missing())
        return self.decision

    def report(self) -> TrialReport:
        """Return what the trial shows so far."""
        share = self.terms.alpha / len(self.monitors)
        return TrialReport(
            terms=self.terms,
            decision=self.decision,
            reasons=self.reasons,
            seconds=self.last_at - self.terms.began_at,
            monitors=tuple(_watched(one, share, self.terms.alpha) for one in self.monitors.values()),
        )

    def _needed(self) -> list[Monitor]:
        """Return what must be proven not worse. A shadow's quality cannot be: its answers are shown to nobody."""
        names = [name for name in self.monitors if name != "quality" or self.terms.mode == "canary"]
        return [self.monitors[name] for name in names]

    def _passed(self) -> bool:
        # Every one of these must hold, so each may have all of alpha (intersection-union, Berger 1982).
        gain = self.monitors["quality"].gain
        better = self.terms.goal == "not-worse" or (gain is not None and gain.proven(self.terms.alpha))
        return better and all(one.passes.proven(self.terms.alpha) for one in self._needed())

    def _missing(self) -> list[str]:
        open_ = [one for one in self._needed() if not one.passes.proven(self.terms.alpha)]
        days = self.terms.longest_s / 86_400
        silent = [f"no outcome told {one.name}" for one in open_ if not one.blocks]
        told = [f"{one.name} was not decided: {_words(one)}" for one in open_ if one.blocks]
        gain = [] if open_ else ["it is not worse, and no gain was proven"]
        return [f"{days:.3g} days have passed and the incumbent stays", *silent, *told, *gain]

    def _decide(self, decision: Decision, reasons: list[str]) -> None:
        self.decision, self.reasons = decision, tuple(reasons)


def _monitor(terms: Terms, name: Name, *, harm: float, margin: float, guess: float) -> Monitor:
    pairs = name == "quality" and terms.mode == "shadow"
    rate = 0.5 if pairs else guess
    return Monitor(
        name=name,
        shape="pairs" if pairs else "arms",
        harm=Wealth(direction="above", gap=harm),
        passes=Wealth(direction="below", gap=margin),
        gain=Wealth(direction="below") if name == "quality" else None,
        per_user=terms.per_user,
        settle_s=terms.settle_s,
        cap=terms.per_principal,
        seen=20.0,
        total=20.0 * rate,
        squares=20.0 * rate,
    )


def _words(monitor: Monitor) -> str:
    if monitor.shape == "pairs":
        return f"{monitor.name} {1 - 2 * monitor.rate('candidate'):+.4f} over {monitor.candidate.units} pairs"
    mine, theirs = monitor.candidate, monitor.incumbent
    word = {"quality": "unsuccessful", "latency": "slow", "failures": "failed"}[monitor.name]
    return (
        f"{monitor.name}, {monitor.rate('candidate'):.2%} {word} of {mine.units} units"
        f" against {monitor.rate('incumbent'):.2%} of {theirs.units}"
    )


def _watched(monitor: Monitor, harm_alpha: float, alpha: float) -> Watched:
    return Watched(
        name=monitor.name,
        says=_words(monitor),
        candidate=monitor.rate("candidate"),
        incumbent=monitor.rate("incumbent"),
        candidate_units=monitor.candidate.units,
        incumbent_units=monitor.incumbent.units,
        harm=monitor.harm.best * harm_alpha,
        passes=monitor.passes.best * alpha,
        gain=monitor.gain.best * alpha if monitor.gain else 0.0,
        margin=monitor.passes.gap * (2 if monitor.shape == "pairs" else 1),
        ignored=dict(monitor.ignored),
    )
