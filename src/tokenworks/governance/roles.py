"""Roles: named sets of scopes with a clearance, for people and keys. Whoever has several may do what each allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label, highest

SCOPES = {
    "infer": "ask models",
    "search": "search the documents",
    "feedback": "say what an answer was worth",
    "versions": "ask for an exact model version, released or not",
    "files": "keep files here",
    "tune": "have models fine-tuned",
    "evals": "have models evaluated",
    "learn": "let the factory learn from what is asked and answered",
}
DEFAULT_SCOPES = frozenset({"infer", "search", "feedback", "learn"})


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody in this role may do through the gateway."""

    scopes: frozenset[str]
    clearance: Label
    about: str = ""


BUILT_IN: dict[str, Role] = {
    "viewer": Role(
        scopes=frozenset({"search", "feedback"}),
        clearance=Label.INTERNAL,
        about="searches the documents and judges answers; asks no model",
    ),
    "user": Role(scopes=DEFAULT_SCOPES, clearance=Label.INTERNAL, about="asks models; what a new key may do"),
    "developer": Role(
        scopes=DEFAULT_SCOPES | {"versions", "files", "tune", "evals"},
        clearance=Label.CONFIDENTIAL,
        about="makes models: sends files, fine-tunes, evaluates, asks exact versions",
    ),
    "operator": Role(
        scopes=frozenset({"infer", "versions", "evals"}),
        clearance=Label.INTERNAL,
        about="keeps it running: asks any version; nothing is learned from it",
    ),
    "security": Role(
        scopes=frozenset({"infer", "search", "versions", "evals"}),
        clearance=Label.RESTRICTED,
        about="examines what models and documents say, up to the highest label; nothing is learned from it",
    ),
    "admin": Role(scopes=frozenset(SCOPES), clearance=Label.RESTRICTED, about="may do everything"),
}


class Roles:
    """The roles of a house: the built-in ones and its own, which may not take a built-in name."""

    def __init__(self, own: Mapping[str, Role] | None = None) -> None:
        for name, role in (own or {}).items():
            if name in BUILT_IN:
                raise ConfigError(f"role {name!r} is built in and means the same everywhere; choose another name")
            check_scopes(role.scopes)
        self.all: dict[str, Role] = {**BUILT_IN, **(own or {})}

    def check(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names, sorted; raise `ConfigError` for one that does not exist."""
        wanted = sorted(set(names))
        for name in wanted:
            if name not in self.all:
                raise ConfigError(f"role {name!r} does not exist; the roles are {', '.join(self.all)}")
        return tuple(wanted)

    def scopes(self, names: Iterable[str]) -> frozenset[str]:
        """Return what any of the roles allows; a name that no longer exists allows nothing."""
        return frozenset().union(*(self.all[name].scopes for name in names if name in self.all))

    def clearance(self, names: Iterable[str]) -> Label:
        """Return the highest label that any of the roles may see; without one, public."""
        return highest([Label.PUBLIC, *(self.all[name].clearance for name in names if name in self.all)])


def check_scopes(scopes: Iterable[str]) -> None:
    """Raise `ConfigError` for a scope that does not exist."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise ConfigError(f"scope {unknown[0]!r} does not exist; the scopes are {', '.join(SCOPES)}")
