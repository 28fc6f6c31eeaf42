"""What each request took of a server elsewhere, as a gateway process can say it when the answer leaves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from tokenworks.core.usage import Spent, Usage
from tokenworks.metering.attribution.account import GAP
from tokenworks.metering.attribution.coarse.rates import FILE, RatesFile
from tokenworks.metering.attribution.coarse.slots import ENDED, RUNNING, Slots, Taken, new_slots

BYTES_PER_TOKEN = 4.0  # of a request whose server never said how many tokens it had


class FarWork:
    """One request at the server."""

    __slots__ = ("_account", "_floor_j", "_floor_s", "_size", "_slot", "_taken", "_told", "name")

    def __init__(self, account: FarAccount, name: str, size_bytes: int, now_s: float) -> None:
        self.name = name  # of the server
        self._account = account
        self._told: Spent | None = None
        self._size = size_bytes
        self._taken = Taken(now_s)
        self._slot = account.slots.take(self._taken)
        self._floor_s, self._floor_j = account.rates.told().floors(now_s)

    def first(self) -> None:
        """The first of its answer is here: its prompt has been read."""
        self._taken = self._taken._replace(first_s=self._account.clock())
        if self._slot >= 0:
            self._account.slots.put(self._slot, RUNNING, self._taken)

    def ended(self) -> None:
        """It is over at the server; what it came to is told in a moment."""
        if not self._taken.ended_s:
            self._taken = self._taken._replace(ended_s=self._account.clock())

    def drop(self) -> None:
        """It came to nothing that anybody was told of."""
        self.ended()
        self._close(self._taken)

    def __del__(self) -> None:
        if self._slot >= 0:  # an answer that nobody took, of who was asked besides another
            self.drop()

    def tell(self, usage: Usage) -> Spent:
        """Return what it took, with its figures as far as the server has said them: those of the first time stand."""
        if self._told is None:
            self._told = self._tell(usage)
        return self._told

    def _tell(self, usage: Usage) -> Spent:
        self.ended()
        taken = self._counted(usage)
        spent = self._spent(taken)
        self._close(taken if spent.joules is None else taken._replace(given_j=spent.joules))
        return spent

    def _counted(self, usage: Usage) -> Taken:
        """Return its tokens; of a request that was broken off the prompt is guessed, once a token of it was seen."""
        known = usage.prompt_tokens > 0
        read = usage.completion_tokens > 0 or self._taken.first_s > 0
        prompt = float(usage.prompt_tokens) if known or not read else self._size / BYTES_PER_TOKEN
        return self._taken._replace(
            prompt=prompt,
            cached=float(min(usage.cached_tokens, prompt)),
            generated=float(usage.completion_tokens),
            known=float(known),
        )

    def _spent(self, taken: Taken) -> Spent:
        rates = self._account.rates.told()
        if not rates.number or taken.ended_s > rates.until_s or self._slot < 0:
            return Spent(meter=GAP)
        began_floor_s, began_floor_j = self._floor_s, self._floor_j
        if rates.past and rates.past[0].at_s <= taken.began_s:  # known by now, where it was foreseen then
            began_floor_s, began_floor_j = rates.floors(taken.began_s)
        floor_s, floor_j = rates.floors(taken.ended_s)
        computed = taken.prompt - taken.cached if taken.cached else taken.prompt * rates.computed
        work_s = computed * rates.prompt_s + taken.generated * rates.generated_s
        engine_s = max(floor_s - began_floor_s, 0.0) + work_s
        joules = max(floor_j - began_floor_j, 0.0) + work_s * rates.watts
        if not (math.isfinite(engine_s) and math.isfinite(joules)):
            return Spent(meter=GAP)
        return Spent(engine_s=engine_s, joules=joules, joules_error=rates.error, meter=rates.grade)

    def _close(self, taken: Taken) -> None:
        slot, self._slot = self._slot, -1
        if slot >= 0:
            self._account.slots.put(slot, ENDED, taken)


class FarAccount:
    """The requests of this process at one server. `folder` is where its meter looks for them."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.slots: Slots = new_slots(folder)
        self.rates = RatesFile(folder / FILE)

    def begin(self, name: str, size_bytes: int) -> FarWork:
        """Return the work of a request that is sent now to the server called `name`."""
        return FarWork(self, name, size_bytes, self.clock())

    def close(self) -> None:
        """Nothing more is asked by this process."""
        self.slots.close()
        self.rates.close()
