"""What the line says of a job, as the job's events: not too many of them."""

from __future__ import annotations

import time

from tokenworks.core.clock import Clock
from tokenworks.gateway.platform.jobs import tell
from tokenworks.line.events import Advanced, AnyEvent, Failed, Finished, Said
from tokenworks.store.objects import Objects

EVERY_S = 5.0


class Progress:
    """A listener that writes down what a caller may want to read."""

    def __init__(self, objects: Objects, job: str, clock: Clock) -> None:
        self._objects = objects
        self._job = job
        self._clock = clock
        self._next = 0.0

    def __call__(self, event: AnyEvent) -> None:
        """Take an event of the line."""
        if isinstance(event, Finished) and not event.hit:
            self._tell(f"{event.stage} done in {event.seconds:.1f} s")
        elif isinstance(event, Said):
            self._tell(event.text)
        elif isinstance(event, Advanced) and not isinstance(event, Failed):
            now = time.monotonic()
            if now >= self._next and event.total:
                self._next = now + EVERY_S
                self._tell(f"{event.stage}: {event.done:g} of {event.total:g} {event.unit} {event.note}".rstrip())

    def _tell(self, message: str) -> None:
        tell(self._objects, self._job, message, at=self._clock.now())
