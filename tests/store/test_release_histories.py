"""Whatever people, turns and kills do to releases, the view is what the ledger says, and the newest word holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tokenworks.core.errors import ConflictError
from tokenworks.core.ids import new_id, sha256_hex
from tokenworks.core.model import ModelVersion, Release
from tokenworks.ledger.entries import ReleaseEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.writer import Ledger
from tokenworks.line.release.reconcile import reconcile
from tokenworks.line.release.release import promote, rollback, stack, withdraw
from tokenworks.line.release.trial import begin_trial, end_trial
from tokenworks.store.catalog import Catalog

NUMBERS = (1, 2, 3, 4)
ABOUT = {"kind": "classify", "label": "internal", "licence": "", "base": "", "stage_key": "", "evaluation": ""}


def register(catalog: Catalog) -> list[ModelVersion]:
    owner = "mailto:a@example.org"
    fresh = [ModelVersion(model="m", version=0, folder=sha256_hex(b"%d" % n), owner=owner, **ABOUT) for n in NUMBERS]
    return [catalog.models.add(one) for one in fresh]


class Killed(Exception):
    """Stands for the end of a process right after its entry was durable."""


class Dying:
    """A ledger whose process ends when the entry is on disk and nothing else has happened."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def append(self, entry: ReleaseEntry) -> None:
        self._ledger.append(entry)
        raise Killed


def test_whatever_is_done_to_releases_the_view_is_what_the_ledger_says(catalog: Catalog, tmp_path: Path) -> None:
    versions = register(catalog)
    root = tmp_path / "ledger"
    ledger, turns = Ledger(root, "person"), Ledger(root, "turn")
    number = st.sampled_from(NUMBERS)
    mode = st.sampled_from(["canary", "shadow"])

    class People(RuleBasedStateMachine):
        """One alias, against the simplest model there is: a stack of versions, and one of them on trial."""

        def __init__(self) -> None:
            super().__init__()
            self.alias = new_id("alias")
            self.answers: list[int] = []
            self.trial = 0
            self.kept: Release | None = None  # the newest step
            self.lost = False  # a step is in the ledger alone
            self.how = {"reason": "r", "by": "b", "catalog": catalog, "ledger": ledger}

        def recover(self) -> None:
            assert reconcile(root, catalog) == int(self.lost)
            self.lost = False

        def done(self, step: Release, *, answers: list[int], trial: int) -> None:
            self.answers, self.trial, self.kept = answers, trial, step

        @rule(number=number)
        def promote(self, number: int) -> None:
            step = promote(self.alias, versions[number - 1], **self.how)
            same = self.answers[-1:] == [number]
            self.done(step, answers=self.answers if same and not self.trial else [*self.answers, number], trial=0)

        @precondition(lambda self: self.answers and self.answers[-1])
        @rule(number=number, mode=mode)
        def begin(self, number: int, mode: str) -> None:
            if number != self.answers[-1]:
                step = begin_trial(self.alias, versions[number - 1], share=0.5, mode=mode, **self.how)
                self.done(step, answers=self.answers, trial=number)

        @precondition(lambda self: self.trial)
        @rule()
        def end(self) -> None:
            self.done(end_trial(self.alias, **self.how), answers=self.answers, trial=0)

        @precondition(lambda self: self.trial or (len(self.answers) > 1 and self.answers[-2]))
        @rule()
        def go_back(self) -> None:
            step = rollback(self.alias, **self.how)
            self.done(step, answers=self.answers if self.trial else self.answers[:-1], trial=0)

        @precondition(lambda self: self.answers and self.answers[-1])
        @rule()
        def withdraw(self) -> None:
            self.done(withdraw(self.alias, **self.how), answers=[*self.answers, 0], trial=0)

        @precondition(lambda self: self.kept)
        @rule()
        def take_the_last_step_once_more(self) -> None:
            kept = self.kept
            again = {**self.how, "id": kept.id, "expect": "long gone"}
            assert promote(self.alias, versions[0], **again) == kept
            assert end_trial(self.alias, **again) == kept

        @precondition(lambda self: self.kept)
        @rule(number=number)
        def come_too_late(self, number: int) -> None:
            late = {**self.how, "expect": "overtaken"}
            for act in (
                lambda: promote(self.alias, versions[number - 1], **late),
                lambda: begin_trial(self.alias, versions[number - 1], share=0.5, **late),
                lambda: end_trial(self.alias, **late),
            ):
                with pytest.raises(ConflictError, match="is in force by now, not overtaken"):
                    act()

        @precondition(lambda self: self.answers and self.answers[-1])
        @rule(number=number)
        def a_turn_is_killed_as_it_begins_a_trial(self, number: int) -> None:
            if self.killed(number):
                self.recover()
                self.done(catalog.releases.current(self.alias), answers=self.answers, trial=number)

        @precondition(lambda self: self.answers and self.answers[-1])
        @rule(number=number)
        def a_person_acts_before_it_is_started_again(self, number: int) -> None:
            if self.killed(number):
                self.withdraw()
                self.recover()

        def killed(self, number: int) -> bool:
            if number == self.answers[-1]:
                return False
            with pytest.raises(Killed):
                begin_trial(self.alias, versions[number - 1], share=0.5, **{**self.how, "ledger": Dying(turns)})
            self.lost = True
            return True

        @invariant()
        def the_view_is_what_the_ledger_says(self) -> None:
            past = catalog.releases.history(self.alias)
            entries = [entry for _, entry in read(root) if isinstance(entry, ReleaseEntry)]
            assert past == [entry.release for entry in entries if entry.release.alias == self.alias]
            assert [step.version for step in stack(past)] == self.answers
            current = past[-1] if past else None
            assert catalog.releases.current(self.alias) == current
            if current is not None:
                assert (current.version, current.canary) == (self.answers[-1], self.trial)
                assert (current.share > 0, bool(current.mode)) == (bool(self.trial), bool(self.trial))

    quick = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    try:
        run_state_machine_as_test(
            People,
            settings=settings(max_examples=5, stateful_step_count=9, deadline=None, suppress_health_check=quick),
        )
    finally:
        ledger.close()
        turns.close()
