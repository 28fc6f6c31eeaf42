"""What left the site, for one home: the ledger's account, and the other ways out that it does not count."""

from __future__ import annotations

from urllib.parse import urlsplit

from tokenworks.core.since import parse_since
from tokenworks.ledger.signing import PUBLIC, read_verifier
from tokenworks.ledger.sovereignty import Sovereignty, sovereignty
from tokenworks.settings import Settings


def sovereignty_report(settings: Settings, since: str, *, now: float) -> Sovereignty:
    """Return what left the site since `since` (`30d`, a date), from the ledger of the home in `settings`.

    Raises `ConfigError` for a moment that cannot be read and `IntegrityError` for a ledger that does not verify.
    """
    home = settings.home_path
    key = home / "keys" / PUBLIC
    return sovereignty(
        home / "ledger",
        since=parse_since(since, now),
        until=now,
        key=read_verifier(key) if key.exists() else None,
        unmetered=tuple(unmetered(settings)),
    )


def unmetered(settings: Settings) -> list[str]:
    """Return the configured places, other than engines, that this home's data may go to. They hold no key."""
    store, found = settings.store, []
    if store.artifacts.startswith("s3://"):
        found.append(f"artifacts: {store.artifacts} at {store.s3_endpoint or 'the default endpoint of S3'}")
    catalog = urlsplit(store.catalog)
    if catalog.hostname:
        found.append(f"catalog: {catalog.scheme} at {catalog.hostname}")
    if settings.telemetry.otlp_endpoint:
        found.append(f"traces, without any text: {settings.telemetry.otlp_endpoint}")
    return found
