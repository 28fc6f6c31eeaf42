"""Cases that policies are tried on: facts in an operator's words and the decision that is expected, in TOML files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from tokenworks.core.destination import HERE, Destination
from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.core.toml import read_toml
from tokenworks.governance.keys import DEFAULT_SCOPES, Principal
from tokenworks.governance.policy.engine import Decision, Policies
from tokenworks.governance.policy.questions import ACTIONS, SERVICES, Model, Question

PATTERN = "*.test.toml"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a decision depends on. Where a destination is named, the prompt would be sent there."""

    action: str = "infer"
    key: str = "tw-example"
    name: str = ""  # of the key
    tenant: str = "default"
    project: str = ""
    person: str = ""  # pseudonym of whose key it is
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = tuple(sorted(DEFAULT_SCOPES))
    clearance: str = "internal"
    model: str = "example"
    version: int = 1
    model_label: str = "public"
    model_tenant: str = ""
    prompt: str = "public"
    destination: str = ""
    region: str = HERE
    cleared: str = "restricted"  # the highest label of text that may go to the destination
    day: str = "wednesday"
    hour: int = 12  # UTC
    grant: str = ""  # what the grant is for that is used
    grant_models: tuple[str, ...] = ()  # those that it is for; none: all

    def questions(self, policies: Policies) -> list[Question]:
        """Return what a gateway would ask, in order; the prompt counts as its tenant's or key's floor at least."""
        who = Principal(
            key_id=self.key,
            tenant=self.tenant,
            name=self.name,
            project=self.project,
            person=self.person,
            roles=self.roles,
            scopes=frozenset(self.scopes),
            clearance=Label.parse(self.clearance),
            grant=self.key if self.grant else "",
            task=self.grant,
            models=self.grant_models,
        )
        if self.grant_models and not self.grant:
            raise ConfigError("grant_models are of a grant; say in `grant` what it is for")
        if self.action not in ACTIONS:
            raise ConfigError(f"action {self.action!r} does not exist; there are: {', '.join(ACTIONS)}")
        asked = Question(action=self.action, who=who, hour_of_week=self._hour_of_week())
        if self.action in SERVICES:
            return [asked]
        model = Model(
            name=self.model,
            version=f"{self.model}@{self.version}",
            label=Label.parse(self.model_label),
            tenant=self.model_tenant,
        )
        prompt = max(Label.parse(self.prompt), policies.floor(who))
        infer = msgspec.structs.replace(asked, action="infer", model=model, prompt=prompt)
        place = Destination(
            name=self.destination or model.version, region=self.region, clearance=str(Label.parse(self.cleared))
        )
        return [infer, msgspec.structs.replace(infer, action="send", destination=place)]

    def _hour_of_week(self) -> int:
        if self.day not in _DAYS:
            raise ConfigError(f"day {self.day!r} does not exist; there are: {', '.join(_DAYS)}")
        if not 0 <= self.hour < 24:
            raise ConfigError(f"hour {self.hour} does not exist; there are 0 to 23, UTC")
        return _DAYS.index(self.day) * 24 + self.hour


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case; `by` names a policy that must have decided, where that matters."""

    name: str
    expect: Literal["allow", "deny"]
    by: str = ""
    facts: Facts = Facts()


class CaseFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of cases."""

    case: list[Case] = []


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A case and what the policies said to it."""

    case: Case
    decision: Decision

    @property
    def held(self) -> bool:
        """Whether the decision is what was expected."""
        expected = self.decision.allowed == (self.case.expect == "allow")
        return expected and (not self.case.by or self.case.by in self.decision.policies)


def decide(policies: Policies, facts: Facts) -> Decision:
    """Return what a gateway would do: the first denial, else the last permission."""
    for question in facts.questions(policies):
        decision = policies.decide(question)
        if not decision.allowed:
            break
    return decision


def try_cases(policies: Policies, paths: list[Path]) -> list[Tried]:
    """Return every case of `paths` with its decision; raise `ConfigError` where there is none or one is wrong."""
    found = [_tried(policies, path, case) for path in paths for case in read_toml(path, CaseFile).case]
    if not found:
        where = ", ".join(map(str, paths)) or f"the policies folder, which has no file {PATTERN}"
        raise ConfigError(f"there is no case in {where}; begin one with [[case]]")
    return found


def _tried(policies: Policies, path: Path, case: Case) -> Tried:
    try:
        return Tried(case=case, decision=decide(policies, case.facts))
    except ConfigError as error:
        raise ConfigError(f"{path}: case {case.name!r}: {error}") from None
