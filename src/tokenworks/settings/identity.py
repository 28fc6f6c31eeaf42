"""Who may ask: the section about people, roles and who vouches for them."""

from __future__ import annotations

import msgspec


class RoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A role of this house's own, `[identity.roles.NAME]`."""

    scopes: tuple[str, ...] = ()
    clearance: str = "internal"


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who vouches for people. Without an issuer nobody signs in, and nothing is asked."""

    issuer: str = ""  # https://..., as it stands in its tokens
    audience: str = ""  # whom its tokens must be meant for: the client id, or the name of this API
    person_claim: str = "sub"  # what names somebody for good
    groups_claim: str = "groups"  # a list of names, or names with spaces between; a.b.c looks inside
    roles: dict[str, str] = {}  # group -> role
    tenants: dict[str, str] = {}  # group -> tenant
    tenant: str = "default"  # of whoever is in none of those groups; empty: they are refused
    leeway_s: float = 30.0  # how far its clock may be off
    keys_s: float = 300.0  # how long its keys are believed before they are asked for again
    keys_kept_s: float = 86400.0  # how long they count while it cannot be reached
    timeout_s: float = 5.0
    ca_file: str = ""  # certificates to believe it by, where not the system's


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may ask."""

    roles: dict[str, RoleSettings] = {}
    oidc: OidcSettings = OidcSettings()
