"""People with a token of an identity provider: its signature is checked once, who they are here once a second.

OpenID Connect Core 1.0, section 3.1.3.7; RFC 8725 for what a verifier must not fall for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tokenworks.core.clock import Clock, iso
from tokenworks.core.errors import ConfigError, MissingExtraError
from tokenworks.core.ids import sha256_hex
from tokenworks.governance.jwks import Jwks
from tokenworks.governance.people import HOUSE, LONGEST_ID, People, SignedIn
from tokenworks.governance.principal import KeyRefusedError, Principal, of_person
from tokenworks.governance.provider import ALGORITHMS, allowed
from tokenworks.governance.remembering import FRESH_S, REMEMBERED, Remembering, Seen
from tokenworks.governance.roles import Roles

if TYPE_CHECKING:
    from jwt import PyJWK

LONGEST = 16384  # characters of a token
NO_ROLE = "none of your groups has a role here; ask the operators for one that does"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to believe, and what their words mean here."""

    issuer: str
    audience: str
    person_claim: str = "sub"
    groups_claim: str = "groups"
    roles: dict[str, str] = {}  # group -> role
    tenants: dict[str, str] = {}  # group -> tenant
    tenant: str = "default"  # of whoever is in none of those; empty: they are refused
    leeway_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.audience:
            raise ConfigError(
                "identity.oidc.audience is empty: any token of the issuer would be let in; name whom its tokens are for"
            )
        if not allowed(self.issuer, self.issuer):
            raise ConfigError(f"identity.oidc.issuer {self.issuer!r} is no https address (http: on this machine only)")
        if HOUSE in (self.tenant, *self.tenants.values()):
            raise ConfigError(f"identity.oidc: tenant {HOUSE!r} is the factory itself; nobody signs in there")


class _Verified(NamedTuple):
    """A token whose signature, issuer, audience and times are right."""

    kid: str
    until: float
    person: str
    tenant: str
    roles: tuple[str, ...]


class Tokens:
    """Verifies bearer tokens. Belongs to one event loop."""

    def __init__(
        self,
        rules: Rules,
        jwks: Jwks,
        people: People,
        roles: Roles,
        *,
        clock: Clock,
        generation: Callable[[], int],
        fresh_s: float = FRESH_S,
    ) -> None:
        roles.check(rules.roles.values())
        self._rules = rules
        self._jwks = jwks
        self._people = people
        self._roles = roles
        self._clock = clock
        self._seen = Remembering(clock=clock, fresh_s=fresh_s, generation=generation)
        self._verified: OrderedDict[str, _Verified] = OrderedDict()

    async def verify(self, token: str) -> Principal:
        """Return who holds `token`; raise `KeyRefusedError`, or `ProviderDownError` where nobody can say."""
        if len(token) > LONGEST:
            raise KeyRefusedError(f"this token is longer than {LONGEST} characters; ask for one with fewer groups")
        digest = sha256_hex(token.encode())
        return await self._seen.holder(digest, lambda: self._find(digest, token))

    def at_hand(self, token: str) -> Principal | None:
        """Return who holds `token` where that is remembered: the same object as long as it is."""
        if len(token) > LONGEST:
            return None
        digest = sha256_hex(token.encode())
        return self._seen.at_hand(digest, lambda: self._find(digest, token))

    @property
    def forgotten(self) -> int:
        """A number that rises where this process changes access."""
        return self._seen.forgotten

    async def stand_in(self, handle: str) -> Principal:
        """Return what the person called `handle` may do now, for work that goes on in their name."""
        person = await asyncio.to_thread(self._people.known, handle)
        if person is None:
            raise KeyRefusedError(f"nobody is known as {handle}; begin this work anew")
        return self._admitted(await asyncio.to_thread(self._people.standing, person.id))

    async def _find(self, digest: str, token: str) -> Seen:
        verified = self._verified.get(digest)
        if verified is None:
            verified = await self._check(token)
            self._verified[digest] = verified
            if len(self._verified) > REMEMBERED:
                self._verified.popitem(last=False)
        else:
            await self._jwks.key(verified.kid)  # a key that is published no more vouches for nobody
        if not verified.tenant:
            return _refused(verified, "none of your groups belongs to a tenant here; ask the operators")
        signed_in = await asyncio.to_thread(
            self._people.signed_in, verified.person, tenant=verified.tenant, claimed=verified.roles
        )
        if signed_in is None:
            return _refused(verified, NO_ROLE)
        try:
            principal = self._admitted(signed_in)
        except KeyRefusedError as error:
            return _refused(verified, str(error))
        over = f"this token expired at {iso(verified.until)}; sign in again"
        return Seen(verified.until, principal, lambda now: over)

    async def _check(self, token: str) -> _Verified:
        """Return what a token says once everything about it is right."""
        try:
            import jwt  # needed by those only who have an identity provider
        except ImportError:
            raise MissingExtraError("signing in with an identity provider", "oidc") from None

        rules, kid = self._rules, _kid(token)
        key = await self._jwks.key(kid)
        try:
            try:
                claims = self._decoded(token, key)
            except jwt.InvalidSignatureError:
                key = await self._jwks.renewed(kid, key)
                claims = self._decoded(token, key)
            until = float(claims["exp"]) + rules.leeway_s
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise KeyRefusedError(_why(error)) from None
        groups = _groups(claims, rules.groups_claim)
        tenant = next((rules.tenants[group] for group in rules.tenants if group in groups), rules.tenant)
        roles = tuple(sorted({role for group, role in rules.roles.items() if group in groups}))
        return _Verified(key.key_id or "", until, _person(claims, rules.person_claim), tenant, roles)

    def _decoded(self, token: str, key: PyJWK) -> dict[str, Any]:
        """Return what the token claims; raise `jwt.PyJWTError` where anything about it is wrong."""
        import jwt

        return jwt.decode(
            token,
            key,  # bound to its own algorithm: what the token's header says cannot change it
            algorithms=list(ALGORITHMS),
            audience=self._rules.audience,
            issuer=self._rules.issuer,
            leeway=self._rules.leeway_s,
            options={"require": ["exp", "iss", "aud"]},
        )

    def _admitted(self, who: SignedIn) -> Principal:
        """Return what somebody may do; raise where they are not let in."""
        if who.person.ended_at is not None:
            raise KeyRefusedError(f"you are let in no more since {iso(who.person.ended_at)}; ask the operators")
        if who.tenant is not None and who.tenant.closed_at is not None:
            raise KeyRefusedError(f"tenant {who.tenant.name} is closed; ask the operators to open it")
        principal = of_person(who.person, self._roles)
        if not principal.roles:
            raise KeyRefusedError(NO_ROLE)
        return principal


def _refused(verified: _Verified, why: str) -> Seen:
    return Seen(verified.until, None, lambda now: why)


def _kid(token: str) -> str:
    """Return which key the token says it is signed with; nothing else of its header is believed."""
    import jwt

    try:
        head: Mapping[str, Any] = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise KeyRefusedError("this is no API key, and no token that can be read; send 'tw-...' or a JWT") from None
    if head.get("alg") not in ALGORITHMS:
        raise KeyRefusedError(f"tokens are signed with {', '.join(ALGORITHMS)} here; this one is not")
    return str(head.get("kid", ""))


def _why(error: Exception) -> str:
    """Return what is wrong with a token, in words that hold nothing of it."""
    reasons = {
        "ExpiredSignatureError": "has expired; sign in again",
        "ImmatureSignatureError": "is not valid yet; is a clock wrong?",
        "InvalidAudienceError": "is meant for somebody else: its audience is not this gateway",
        "InvalidIssuerError": "comes from another issuer than the one that is believed here",
        "InvalidSignatureError": "is not signed by the identity provider, or was changed since",
        "InvalidAlgorithmError": "is signed in another way than its key is for",
        "MissingRequiredClaimError": "lacks an expiry, an issuer or an audience",
    }
    return f"this token {reasons.get(type(error).__name__, 'is not one that the identity provider would sign')}"


def _person(claims: Mapping[str, Any], claim: str) -> str:
    name = claims.get(claim)
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID or not name.isprintable():
        raise KeyRefusedError(f"this token names nobody: its claim {claim!r} is missing or unusable")
    if claim == "email" and claims.get("email_verified") is not True:
        raise KeyRefusedError("the identity provider has not verified the address in this token")
    return name


def _groups(claims: Mapping[str, Any], claim: str) -> frozenset[str]:
    """Return the groups in a list or a text; where no claim has that name, `a.b` is b inside a."""
    found: Any = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return frozenset(found.split())
    names: Sequence[Any] = found if isinstance(found, list) else ()
    return frozenset(name for name in names if isinstance(name, str))
