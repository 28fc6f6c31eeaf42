"""What an identity provider publishes of itself: where its keys are, and the keys. Fetched and checked.

OpenID Connect Discovery 1.0, section 4; RFC 7517 for the keys.
"""

from __future__ import annotations

import ssl
import time
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.error import URLError
from urllib.parse import urlsplit

import msgspec

from tokenworks.core.errors import ConfigError, MissingExtraError, TokenworksError

if TYPE_CHECKING:
    from jwt import PyJWK

ALGORITHMS = ("RS256", "ES256", "EdDSA")  # asymmetric: who can check a token cannot make one
LONGEST = 1 << 20  # bytes of a document of theirs
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ProviderDownError(TokenworksError):
    """The identity provider cannot be asked, or its answer cannot be used."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer from elsewhere is none of this issuer's."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def fetch_keys(issuer: str, *, timeout_s: float, ca_file: str = "") -> dict[str, PyJWK]:
    """Return the public keys of `issuer` that may sign, by key id. Blocks for `timeout_s` at most, twice.

    Raises `ProviderDownError`. Keys for encryption, symmetric ones and those too short are left out.
    """
    until = time.monotonic() + 2 * timeout_s
    context = _context(ca_file)
    place = issuer.rstrip("/") + "/.well-known/openid-configuration"
    about = _get(place, timeout_s, until, context)
    if about.get("issuer") != issuer:
        _down(place, f"it names its issuer {str(about.get('issuer'))[:200]!r}, and {issuer!r} was expected")
    where = about.get("jwks_uri")
    if not isinstance(where, str) or not allowed(where, issuer):
        _down(place, f"its jwks_uri {str(where)[:200]!r} is no https address")
    published = _get(where, timeout_s, until, context).get("keys")
    keys = dict(filter(None, map(_usable, published if isinstance(published, list) else [])))
    if not keys:
        _down(where, f"it publishes no key that may sign with {', '.join(ALGORITHMS)}")
    return keys


def allowed(url: str, issuer: str) -> bool:
    """Return whether `url` may be asked: https, or where the issuer itself is on this machine, this machine."""
    try:
        asked, home = urlsplit(url), urlsplit(issuer)
    except ValueError:
        return False
    if asked.scheme == "https":
        return bool(asked.hostname)
    return asked.scheme == "http" and asked.hostname in LOOPBACK and home.hostname in LOOPBACK


def _usable(jwk: Any) -> tuple[str, PyJWK] | None:
    """Return a key by its id if it may sign tokens."""
    try:
        from jwt import PyJWK, PyJWTError  # needed by those only who have an identity provider
    except ImportError:
        raise MissingExtraError("signing in with an identity provider", "oidc") from None

    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    try:
        key = PyJWK(jwk)
        if key.algorithm_name not in ALGORITHMS or key.Algorithm.check_key_length(key.key):
            return None
    except (PyJWTError, ValueError, TypeError, KeyError):  # one that we cannot read need not trouble the others
        return None
    return str(jwk.get("kid", "")), key


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"identity.oidc.ca_file {ca_file!r}: {error}; name a file with PEM certificates") from None


def _get(url: str, timeout_s: float, until: float, context: ssl.SSLContext) -> dict[str, Any]:
    # No proxy from the environment: only the settings read that.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect()
    )
    try:
        with opener.open(urllib.request.Request(url, headers={"accept": "application/json"}), timeout=timeout_s) as got:
            read = bytearray()
            while piece := got.read1(65536):
                read += piece
                if len(read) > LONGEST or time.monotonic() > until:
                    _down(url, "its answer is too long or too slow")
        return msgspec.json.decode(bytes(read), type=dict[str, Any])
    except (URLError, HTTPException, OSError, ValueError, msgspec.DecodeError, RecursionError) as error:
        _down(url, str(getattr(error, "reason", "") or error)[:200])


def _down(url: str, why: str) -> NoReturn:
    raise ProviderDownError(f"the identity provider at {url} cannot be used: {why}")
