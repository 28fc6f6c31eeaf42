"""The files of a batch: the one that it reads, and those that it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tokenworks.core.clock import Clock
from tokenworks.core.errors import NotFoundError
from tokenworks.gateway.platform.batches import KIND, LIVE, Batch, Status, Wrong, at_status, get
from tokenworks.gateway.platform.files import KIND as FILE
from tokenworks.gateway.platform.files import File, lines_of
from tokenworks.gateway.platform.lines import read_line, unasked
from tokenworks.gateway.platform.sheet import ERRORS, OUTPUT, Sheet
from tokenworks.gateway.platform.shelf import add_once, change
from tokenworks.gateway.platform.tally import Tally
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

LATE = "the batch was not done within its 24 hours; send this line again"


@dataclass(frozen=True)
class Filing:
    """Reads and leaves files. Its methods block."""

    objects: Objects
    artifacts: ArtifactStore
    clock: Clock

    def lines(self, batch: Batch) -> Iterator[tuple[int, bytes]]:
        """Yield the lines of the input with their numbers; raise `NotFoundError` where the file is gone."""
        file = self.objects.get(FILE, batch.input_file_id)
        if file is None:
            raise NotFoundError(f"file {batch.input_file_id} was deleted; send it again, and another batch")
        return lines_of(self.artifacts, file)

    def file(self, id: str, sheet: Sheet, tally: Tally, wrong: list[Wrong]) -> None:
        """End the batch: what was written becomes its files. Done again after a kill, it leaves the same."""
        batch = get(self.objects, id)
        if batch.status not in LIVE:
            return
        status: Status = "completed"
        if wrong:
            status = "failed"
        elif batch.status == "cancelling":
            status = "cancelled"
        elif len(tally.done) < batch.total:
            status = "expired"
            self._give_up(id, batch, sheet, tally)
        now = int(self.clock.now())
        change(self.objects, KIND, id, Batch, lambda one: _finalizing(one, now))
        files = {name: self._leave(id, batch, sheet, tally, name) for name in (OUTPUT, ERRORS)}

        def step(one: Batch) -> Batch:
            ended = msgspec.structs.replace(
                tally.counted(one), wrong=wrong, output_file_id=files[OUTPUT], error_file_id=files[ERRORS]
            )
            return at_status(ended, status, int(self.clock.now()))

        change(self.objects, KIND, id, Batch, step)
        sheet.remove()

    def _give_up(self, id: str, batch: Batch, sheet: Sheet, tally: Tally) -> None:
        for number, data in self.lines(batch):
            if number not in tally.done:
                sheet.add(ERRORS, [unasked(id, number, read_line(data).custom_id, "batch_expired", LATE)])
                tally.count_unasked(number)

    def _leave(self, id: str, batch: Batch, sheet: Sheet, tally: Tally, name: str) -> str | None:
        path = sheet.path(name)
        if path is None:
            return None
        file = File(
            filename=f"{id}_{name}",
            bytes=path.stat().st_size,
            purpose="batch_output",
            digest=self.artifacts.put_file(path),
            label=str(tally.label),
            by=id,
        )
        made = f"file-{id.partition('-')[2]}-{name.partition('.')[0]}"
        body = msgspec.to_builtins(file)
        add_once(self.objects, Object(kind=FILE, id=made, scope=batch.tenant, body=body, created_at=self.clock.now()))
        return made


def _finalizing(batch: Batch, now: int) -> Batch | None:
    return at_status(batch, "finalizing", now) if batch.status == "in_progress" else None
