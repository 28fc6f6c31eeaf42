"""When a request waited, was read and was written inside an engine; filled in only where somebody traces it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Phase:
    """Steps of one kind, and how many answers were in them together."""

    __slots__ = ("members", "steps")

    def __init__(self) -> None:
        self.steps = 0
        self.members = 0  # of all steps together

    def add(self, steps: int, members: int) -> None:
        """Count some more steps with so many members in all."""
        self.steps += steps
        self.members += members

    @property
    def batch(self) -> float:
        """Return the mean size of the batches; 0 where there were none."""
        return self.members / self.steps if self.steps else 0.0


class Timeline:
    """Moments of one request on the monotonic clock, in seconds; 0: not yet.

    Where it asks for several answers, the first that is taken up counts, and the last that is read.
    """

    __slots__ = ("arrived_s", "decode", "prefill", "read_s", "taken_s", "written_s")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.arrived_s = clock()
        self.taken_s = 0.0  # its first step began
        self.read_s = 0.0  # all of its prompts were read, and the first tokens made
        self.written_s = 0.0  # its last step ended
        self.prefill, self.decode = Phase(), Phase()

    def taken(self, at_s: float) -> None:
        """A first step begins at `at_s`."""
        self.taken_s = self.taken_s or at_s

    def read(self, at_s: float) -> None:
        """A prompt was read by `at_s`."""
        self.read_s = max(self.read_s, at_s)

    def written(self, at_s: float) -> None:
        """An answer grew, or ended, by `at_s`."""
        self.written_s = max(self.written_s, at_s)
