"""A set of policies: read, validated against the schema, and asked. It never changes: new policies are a new set.

Fails closed: Cedar itself passes over a policy whose evaluation fails; here such a decision is a denial.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.core.toml import parse_toml
from tokenworks.governance.keys import Principal
from tokenworks.governance.policy.explain import allowance, denial, failure
from tokenworks.governance.policy.questions import Question, entities_of, request_of

OWN = Path(__file__).parent
BUILT_IN = "built in"
LABELS = "labels.toml"
FAILED = "evaluation-failed"  # stands for the policy where one could not be evaluated
DIGEST_CHARACTERS = 12
log = structlog.get_logger()


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the policies say, and the ids of those that decided."""

    allowed: bool
    policies: tuple[str, ...]
    why: str


class Floors(msgspec.Struct, frozen=True, kw_only=True):
    """The least that prompts of a tenant, a project (`TENANT/NAME`) or a key count as, by name: `labels.toml`."""

    tenants: dict[str, str] = {}
    projects: dict[str, str] = {}
    keys: dict[str, str] = {}


class Policies:
    """The built-in policies and an operator's `files` (name to text), parsed once.

    Raises `ConfigError` with the file's name where one cannot be read, does not fit the schema, or has no id.
    """

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        # A megabyte of native code: loaded with the first policies, so that `import tokenworks` does without.
        import cedarpy

        schema = (OWN / "schema.cedarschema").read_text("utf-8")
        given = {BUILT_IN: (OWN / "builtin.cedar").read_text("utf-8"), **(files or {})}
        texts = {place: text for place, text in given.items() if place != LABELS}
        self._reasons: dict[str, str] = {}
        self.places: dict[str, str] = {}  # the file of each policy, by its id
        for place, text in texts.items():
            self._take(place, text, schema)
        self._schema = cedarpy.Schema.from_str(schema)
        self._set = cedarpy.PolicySet.from_str("\n".join(texts.values()))
        self._tenants, self._projects, self._keys = _floors(given.get(LABELS, ""))
        self.digest = _digest({"schema": schema, **given})

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all policies."""
        return tuple(self.places)

    def floor(self, who: Principal) -> Label:
        """Return the least that a prompt of `who` counts as."""
        project = self._projects.get(f"{who.tenant}/{who.project}", Label.PUBLIC)
        return max(self._tenants.get(who.tenant, Label.PUBLIC), project, self._keys.get(who.key_id, Label.PUBLIC))

    def decide(self, question: Question) -> Decision:
        """Return the decision. Pure: whoever asks often remembers it, by the question."""
        import cedarpy

        result = cedarpy.is_authorized(request_of(question), self._set, entities_of(question), self._schema)
        named = result.diagnostics.id_annotations_by_reason
        ids = tuple(sorted(named.get(reason) or reason for reason in result.diagnostics.reasons))
        errors = [str(error) for error in result.diagnostics.errors]
        if errors:
            log.error("a policy could not be evaluated, which denies", errors=errors)
            return Decision(allowed=False, policies=(FAILED,), why=failure())
        if result.allowed:
            return Decision(allowed=True, policies=ids, why=allowance(question, ids))
        return Decision(allowed=False, policies=ids, why=denial(question, ids, self._reasons))

    def _take(self, place: str, text: str, schema: str) -> None:
        """Note the policies of one file, or raise `ConfigError` saying why it cannot be taken."""
        import cedarpy

        try:
            parsed = msgspec.json.decode(cedarpy.policies_to_json_str(text))
        except ValueError as error:
            raise ConfigError(f"policies in {place} cannot be read: {error}; correct that file") from None
        found = cedarpy.validate_policies(text, schema)
        if not found.validation_passed:
            raise ConfigError(
                f"policies in {place} do not fit the schema: {'; '.join(error.error for error in found.errors)}; "
                "docs/policy.md lists what a policy can speak of"
            )
        if parsed.get("templates"):
            raise ConfigError(f"policies in {place} hold a template, which decides nothing; write the policy out")
        for policy in parsed["staticPolicies"].values():
            self._name(place, policy.get("annotations", {}))

    def _name(self, place: str, annotations: dict[str, Any]) -> None:
        name = annotations.get("id")
        if not name:
            raise ConfigError(f'a policy in {place} has no name; write @id("what-it-is-for") before it')
        if name in self.places:
            raise ConfigError(f"policy {name!r} in {place} exists in {self.places[name]} already; choose another id")
        self.places[name] = place
        if annotations.get("reason"):
            self._reasons[name] = annotations["reason"]


def _floors(text: str) -> tuple[dict[str, Label], dict[str, Label], dict[str, Label]]:
    floors = parse_toml(text, Floors, where=LABELS)
    parsed = []
    for named in (floors.tenants, floors.projects, floors.keys):
        try:
            parsed.append({name: Label.parse(label) for name, label in named.items()})
        except ConfigError as error:
            raise ConfigError(f"{LABELS}: {error}") from None
    return parsed[0], parsed[1], parsed[2]


def _digest(texts: Mapping[str, str]) -> str:
    """Return the name of a set by its contents: equal sets have equal names on every host."""
    digest = hashlib.sha256()
    for name in sorted(texts):
        for part in (name, texts[name]):
            digest.update(f"{len(part.encode())}:".encode() + part.encode())
    return digest.hexdigest()[:DIGEST_CHARACTERS]
