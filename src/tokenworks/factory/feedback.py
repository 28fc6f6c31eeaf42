"""Feedback without a server: the same checks, the same entries, given by whoever runs this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.factory.house import House
from tokenworks.governance import opinions
from tokenworks.governance.opinions import Opinion
from tokenworks.ledger.bodies import named
from tokenworks.ledger.vault import Subject


class Desk:
    """Takes feedback on any request of the home's log, in the name of `by`."""

    def __init__(self, house: House, by: str) -> None:
        self._house = house
        self._key_id = f"cli/{by}"

    def take(self, said: dict[str, Any], *, once: str = "") -> dict[str, Any]:
        """Write one opinion down and return it as it is shown; said before, nothing is written.

        Raises `NotTakenError` where it cannot be taken, `ConfigError` for fields that cannot be meant.
        """
        try:
            opinion = msgspec.convert(said, Opinion)
        except msgspec.ValidationError as error:
            raise ConfigError(f"feedback: {error}; see: tokenworks feedback add --help") from None
        opinions.require_something(opinion)
        asked = self._house.lookup.request(opinion.request_id)
        tenant = asked.tenant if asked is not None else ""
        erased = self._house.bodies.is_erased(named(tenant, opinion.request_id))
        better = opinions.require_own(opinion.request_id, asked, tenant=tenant, erased=erased)
        if opinion.preferred_over is not None:
            other = self._house.lookup.request(opinion.preferred_over, tenant)
            gone = self._house.bodies.is_erased(named(tenant, opinion.preferred_over))
            worse = opinions.require_own(opinion.preferred_over, other, tenant=tenant, erased=gone)
            opinions.require_comparable(better, worse)
        before = self._house.lookup.feedback(opinions.feedback_id(opinion, key_id=self._key_id, once=once))
        if before is not None:
            return opinions.shown(before)
        opinions.require_room(self._house.lookup.about(opinion.request_id, tenant), self._key_id)
        entry = opinions.entry_of(opinion, key_id=self._key_id, tenant=tenant, once=once)
        for name, text in opinions.texts_of(opinion, entry).items():
            self._house.bodies.put_correction(name, text, Subject(tenant, entry.user, better.label))
        self._house.ledger.append(entry)
        return opinions.shown(entry)

    def take_file(self, path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Take each line of the JSON-lines file at `path`; yield its number and what was taken, or why it was not."""
        if not path.is_file():
            raise ConfigError(f"{path} is no file; give a file with one feedback object a line")
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    said = msgspec.json.decode(line, type=dict[str, Any])
                except msgspec.DecodeError as error:
                    raise DataError(f"{path} line {number}: {error}; one JSON object on each line") from None
                try:
                    yield number, self.take(said)
                except (opinions.NotTakenError, ConfigError) as error:
                    yield number, str(error)

    def listing(self, task: str, since: float, limit: int) -> list[dict[str, Any]]:
        """Return the newest feedback given after `since`, the oldest first, with the version that it is about."""
        found = self._house.lookup.since(task, since, limit=limit)
        return [
            {**opinions.shown(entry), "model": asked.model, "version": asked.version, "by": entry.key_id}
            for entry, asked in found
        ]
