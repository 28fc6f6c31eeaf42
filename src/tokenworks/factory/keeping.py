"""What a server does once a day: drop what is older than may be kept, and finish erasures that were cut off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tokenworks.core.files import locked
from tokenworks.core.ids import new_id
from tokenworks.core.label import Label
from tokenworks.factory.erasing import resume
from tokenworks.factory.holding import holds
from tokenworks.factory.house import House
from tokenworks.factory.reach import copies
from tokenworks.ledger.entries import ErasureEntry
from tokenworks.line.descent import selected
from tokenworks.settings import LedgerSettings

DAY_S = 86_400.0
BECAUSE = "retention"


def keep_house(house: House) -> int:
    """Do the day's keeping; return how many texts were dropped for their age."""
    resume(house)
    days = kept_days(house.settings.ledger, house.bodies.labels())
    now = house.clock.now()
    limits = {label: now - limit * DAY_S for label, limit in days.items()}
    return drop_old(house, before=max(limits.values()), by_label=limits) if limits else 0


def kept_days(settings: LedgerSettings, labels: Iterable[str]) -> dict[str, float]:
    """Return how many days texts of each label are kept, of those that are not kept for ever.

    Texts from before labels were told apart may be of any: they go with the first. Raises `ConfigError`.
    """
    own = {str(Label.parse(name)): days for name, days in settings.keep.items()}
    found = {name: own.get(name, settings.keep_days) for name in {*labels, *own} if name}
    limits = {name: days for name, days in found.items() if days > 0}
    every = [*limits.values(), *([settings.keep_days] if settings.keep_days > 0 else [])]
    return {**limits, "": min(every)} if every else {}


def drop_old(house: House, *, before: float, by_label: Mapping[str, float] | None = None) -> int:
    """Drop prompts, answers, corrections and datasets made before that Unix time; return how many texts.

    With `by_label` texts go by the time of their label; datasets, which hold texts of several, by `before`. What a
    legal hold covers stays, and while there is one, so do all datasets. The ledger knows first. Killed in between, it
    is done, and written down, again.
    """
    ages: dict[str | None, float] = {None: before} if by_label is None else dict(by_label.items())
    with locked(house.home / "work" / "erasing.lock"):
        held = [one.subject for one in holds(house)]
        datasets = () if held else _datasets(house, before)
        count = sum(house.bodies.count_older(limit, label, held=held) for label, limit in ages.items())
        if not count and not datasets:
            return 0
        house.ledger.append(
            ErasureEntry(at=house.clock.now(), erasure_id=new_id("er"), tenant="", requests=count, by=BECAUSE)
        )
        for digest in datasets:
            house.artifacts.erase(digest, because=BECAUSE)
        return sum(house.bodies.drop_older(limit, label, held=held) for label, limit in ages.items())


def _datasets(house: House, before: float) -> tuple[str, ...]:
    results = house.catalog.stages.all()
    old = [one for one in results if one.finished_at < before]
    kept = selected(one for one in results if one.finished_at >= before)
    roots = {digest for digest in selected(old) - kept if house.artifacts.has(digest)}
    return copies(house, results, roots)
