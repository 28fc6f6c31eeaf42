"""What a server does once a day: drop what is older than may be kept, and finish erasures that were cut off."""

from __future__ import annotations

from tokenworks.core.files import locked
from tokenworks.core.ids import new_id
from tokenworks.factory.erasing import resume
from tokenworks.factory.house import House
from tokenworks.factory.reach import copies
from tokenworks.ledger.entries import ErasureEntry
from tokenworks.line.descent import selected

DAY_S = 86_400.0
BECAUSE = "retention"


def keep_house(house: House) -> int:
    """Do the day's keeping; return how many texts were dropped for their age."""
    resume(house)
    days = house.settings.ledger.keep_days
    return drop_old(house, before=house.clock.now() - days * DAY_S) if days > 0 else 0


def drop_old(house: House, *, before: float) -> int:
    """Drop prompts, answers, corrections and datasets made before that Unix time; return how many texts.

    The ledger knows first. Killed in between, it is done, and written down, again.
    """
    with locked(house.home / "work" / "erasing.lock"):
        results = house.catalog.stages.all()
        old = [one for one in results if one.finished_at < before]
        kept = selected(one for one in results if one.finished_at >= before)
        roots = {digest for digest in selected(old) - kept if house.artifacts.has(digest)}
        datasets = copies(house, results, roots)
        count = house.bodies.count_older(before)
        if not count and not datasets:
            return 0
        house.ledger.append(
            ErasureEntry(at=house.clock.now(), erasure_id=new_id("er"), tenant="", requests=count, by=BECAUSE)
        )
        for digest in datasets:
            house.artifacts.erase(digest, because=BECAUSE)
        return house.bodies.drop_older(before)
