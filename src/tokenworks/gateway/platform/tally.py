"""What a batch has come to so far: which lines are written, and their sum."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tokenworks.core.label import Label, highest
from tokenworks.core.request import Answer
from tokenworks.gateway.platform.batches import Batch
from tokenworks.gateway.platform.lines import Written
from tokenworks.gateway.platform.sheet import OUTPUT


class Tally:
    """Counts lines; begun anew, from what was written."""

    def __init__(self, batch: Batch, written: Iterable[tuple[str, Written]]) -> None:
        self.done: set[int] = set()
        self.label = Label.parse(batch.data_label)
        self._completed = self._failed = 0
        self._used = [0, 0, 0]
        for name, line in written:
            self._add(line.line, line.label, line.usage, answered=int(name == OUTPUT))

    def count(self, number: int, answer: Answer) -> None:
        """Take in a line that was asked."""
        usage = answer.usage
        used = [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens]
        self._add(number, answer.label, used, answered=int(answer.ok))

    def count_unasked(self, number: int) -> None:
        """Take in a line that will never be asked."""
        self._add(number, "", [], answered=0)

    def counted(self, batch: Batch) -> Batch:
        """Return the batch with the sums so far."""
        return msgspec.structs.replace(
            batch,
            label=str(self.label),
            completed=self._completed,
            failed=self._failed,
            prompt_tokens=self._used[0],
            cached_tokens=self._used[1],
            completion_tokens=self._used[2],
        )

    def _add(self, number: int, label: str, used: list[int], *, answered: int) -> None:
        self.done.add(number)
        self._completed += answered
        self._failed += 1 - answered
        self._used = [have + more for have, more in zip(self._used, used or (0, 0, 0), strict=True)]
        if label:
            self.label = highest([self.label, Label.parse(label)])
