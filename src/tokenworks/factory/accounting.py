"""What administrators do, on the ledger: the settings a server starts with, and texts of others they were shown."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from tokenworks.core.errors import NotFoundError
from tokenworks.core.files import write_atomic
from tokenworks.core.ids import content_id
from tokenworks.core.version import __version__
from tokenworks.factory.house import House
from tokenworks.factory.making import user
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import ConfigEntry, ReadEntry, RequestEntry
from tokenworks.settings import Settings

SECRETS = ("key", "secret", "password", "token", "header", "headers")
HIDDEN = "(set)"


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A request with its texts; None where they were not kept or were erased."""

    request: RequestEntry
    prompt: str | None
    answer: str | None


def record_settings(house: House) -> ConfigEntry:
    """Write down what this server starts with, and what changed since the last one."""
    path = house.home / "views" / "settings.json"
    now = told(house.settings)
    before: dict[str, str] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    changed = {name: (before.get(name, ""), now.get(name, "")) for name in {*before, *now}} if before else {}
    entry = ConfigEntry(
        at=house.clock.now(),
        digest=content_id(now),
        version=__version__,
        changed={name: pair for name, pair in sorted(changed.items()) if pair[0] != pair[1]},
        by=user(),
    )
    house.ledger.append(entry)
    write_atomic(path, msgspec.json.encode(now))  # after the entry: a kill tells the change twice, never not at all
    return entry


def told(settings: Settings) -> dict[str, str]:
    """Return every setting by its dotted name, as text; of secrets only whether they are set."""
    return dict(_flat(msgspec.to_builtins(settings), ""))


def show(house: House, request_id: str, *, tenant: str | None = None, because: str, by: str) -> Shown:
    """Return a request with its texts, once it is on the ledger that `by` was shown them. Raises `NotFoundError`."""
    found = house.lookup.request(request_id, tenant)
    if found is None:
        raise NotFoundError(f"request {request_id} is not on the ledger; see: tokenworks ledger tail")
    house.ledger.append(
        ReadEntry(
            at=house.clock.now(),
            request_id=request_id,
            tenant=found.tenant,
            user=found.user,
            label=found.label,
            because=because,
            by=by,
        )
    )
    texts = house.bodies.get(named(found.tenant, request_id))
    prompt, answer = (None, None) if texts is None else (each.decode(errors="replace") for each in texts)
    return Shown(request=found, prompt=prompt, answer=answer)


def _flat(table: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in table.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(one, dict) for one in value):
            for number, one in enumerate(value):  # each by its own name, where it has one
                found += _flat(one, f"{prefix}{name}.{one.get('name') or number}.")
        else:
            found.append((prefix + name, _shown(name, value)))
    return found


def _shown(name: str, value: object) -> str:
    if isinstance(value, str) and any(name == word or name.endswith(f"_{word}") for word in SECRETS):
        return HIDDEN if value else ""
    text = str(value)
    if "://" in text and (parts := urlsplit(text)).netloc:  # a password in an address, or in its parameters
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return text
