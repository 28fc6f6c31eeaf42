"""What must hold of the ledger and of what callers were told, whatever was broken in between."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.load import Told
from chaos.plant import BUDGET, INPUT_NANO, OUTPUT_NANO, Chaotic
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.spending import charged, day_of
from tokenworks.ledger.verify import verify

UNWRITTEN = {"ledger_unavailable"}  # refused since nothing could be written, so nothing was


@dataclass(frozen=True)
class Figures:
    """What a run came to."""

    asked: int
    answered: int
    broken_off: int  # streams and answers that ended before their end
    delivered: int  # tokens that arrived
    unaccounted: int  # tokens that arrived and stand in no entry

    def __str__(self) -> str:
        share = self.unaccounted / max(1, self.delivered)
        return (
            f"{self.asked} asked, {self.answered} answered, {self.broken_off} broken off; "
            f"{self.delivered} tokens delivered, {self.unaccounted} ({share:.2%}) in no entry"
        )


def balance(house: Chaotic, told: Sequence[Told]) -> Figures:
    """Return the figures; fail where an answer has not exactly one entry, or its tokens are not those charged."""
    entries: dict[str, list[RequestEntry]] = defaultdict(list)
    for _, entry in read(house.home / "ledger"):
        if isinstance(entry, RequestEntry):
            entries[entry.request_id].append(entry)
    twice = {id: len(found) for id, found in entries.items() if len(found) > 1}
    assert not twice, twice
    unaccounted = 0
    for one in told:
        found = entries.get(one.request_id, [])
        if one.whole:
            _whole(one, found)
        elif not found:
            unaccounted += one.tokens
        else:  # what was on its way when the line broke is charged and may not have arrived
            assert found[0].completion_tokens >= one.tokens, (one, found)
            assert found[0].completion_tokens <= one.asked_tokens
    for entry in (one for found in entries.values() for one in found if one.completion_tokens):
        nano = entry.prompt_tokens * INPUT_NANO + entry.completion_tokens * OUTPUT_NANO
        assert entry.price_micro == -(-nano // 1000), entry
    _budgets([entry for found in entries.values() for entry in found])
    assert not verify(house.home / "ledger").problems
    return Figures(
        asked=len(told),
        answered=sum(one.whole and one.status == 200 for one in told),
        broken_off=sum(not one.whole and one.status == 200 for one in told),
        delivered=sum(one.tokens for one in told),
        unaccounted=unaccounted,
    )


def _whole(one: Told, found: list[RequestEntry]) -> None:
    if one.code in UNWRITTEN:
        assert one.tokens == 0, one
        return
    assert len(found) == 1, (one, found)
    [entry] = found
    assert entry.status == one.status, (one, entry)
    if one.status == 200:
        assert (entry.outcome, entry.completion_tokens) == ("ok", one.tokens), (one, entry)
        assert charged(entry) == one.charged, (one, entry)
    else:
        assert one.code == entry.error, (one, entry)
        assert entry.outcome in ("refused", "failed"), (one, entry)


def _budgets(entries: list[RequestEntry]) -> None:
    spent: Counter[str] = Counter()
    for entry in entries:
        if entry.tenant == "tight":
            spent[day_of(entry.at)] += charged(entry)
    assert all(tokens <= BUDGET for tokens in spent.values()), spent


def told_by_status(told: Sequence[Told]) -> Counter[tuple[int, str]]:
    """Return how often each status and code was told."""
    return Counter((one.status, one.code) for one in told)
