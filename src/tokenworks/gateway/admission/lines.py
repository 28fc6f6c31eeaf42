"""The lines of one priority: one for each tenant, served by virtual token counters.

Each tenant has a counter of the work that it got, divided by its weight; the lowest counter is next. Who had nothing
waiting begins at the lowest counter of those that wait, so nobody saves up (Sheng et al., OSDI 2024, algorithm 2).
Work is charged when it begins, as predicted, and corrected when it has ended (their section 4.4).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tokenworks.gateway.admission.ticket import Ticket

PATIENCE = 0.25  # share of its time that the oldest may have waited before the newest goes first
REMEMBERED = 4096  # tenants with a counter


@dataclass(slots=True)
class _Line:
    """Those of one tenant that wait, the oldest first."""

    weight: float
    tickets: deque[Ticket] = field(default_factory=deque)
    work_s: float = 0.0


class Lines:
    """The tenants of one priority."""

    def __init__(self) -> None:
        self.count = 0
        self.work_s = 0.0  # predicted, of all that wait
        self.counters: dict[str, float] = {}
        self._lines: dict[str, _Line] = {}
        self._reached = 0.0  # the counter of who was served last

    def push(self, ticket: Ticket) -> None:
        """Let `ticket` wait."""
        line = self._lines.get(ticket.tenant)
        if line is None:
            self._lift(ticket.tenant)
            line = self._lines[ticket.tenant] = _Line(ticket.weight)
        line.weight = ticket.weight
        line.tickets.append(ticket)
        self._count(line, ticket, 1)

    def pop(self, now_s: float) -> Ticket | None:
        """Return who is next, None where nobody waits."""
        if not self._lines:
            return None
        tenant = min(self._lines, key=self.counters.__getitem__)
        line = self._lines[tenant]
        oldest = line.tickets[0]
        saturated = now_s - oldest.at_s > PATIENCE * (oldest.deadline_s - oldest.at_s)
        # Adaptive LIFO (Maurer, "Fail at Scale", ACM Queue 2015): where the line is slow, who came last can be served
        # in time, and who came first is about to give up.
        ticket = line.tickets.pop() if saturated else line.tickets.popleft()
        self._count(line, ticket, -1)
        return ticket

    def remove(self, ticket: Ticket) -> None:
        """Let `ticket` wait no more."""
        line = self._lines[ticket.tenant]
        line.tickets.remove(ticket)
        self._count(line, ticket, -1)

    def oldest(self, tenant: str) -> Ticket | None:
        """Return who of `tenant` has waited longest."""
        line = self._lines.get(tenant)
        return line.tickets[0] if line else None

    def oldest_of_longest(self) -> Ticket:
        """Return who has waited longest in the line that is longest for its weight; somebody waits."""
        return max(self._lines.values(), key=lambda line: len(line.tickets) / line.weight).tickets[0]

    def before_s(self, ticket: Ticket) -> float:
        """Return the predicted work that is done before `ticket` is next, were it the last of its tenant's.

        While it waits, its tenant gets its share: no more of the others' work than that leaves goes before it.
        """
        line = self._lines.get(ticket.tenant)
        own_s = (line.work_s if line else 0.0) + ticket.expected.service_s
        weights = sum(other.weight for other in self._lines.values()) + (0.0 if line else ticket.weight)
        return min(self.work_s, own_s * weights / ticket.weight - ticket.expected.service_s)

    def charge(self, ticket: Ticket) -> None:
        """Charge what `ticket` will likely get: it begins now."""
        if ticket.tenant not in self._lines:
            self._lift(ticket.tenant)
        counter = self.counters[ticket.tenant]
        if counter > self._reached:
            self._reached = counter
        self.counters[ticket.tenant] = counter + ticket.expected.work / ticket.weight

    def correct(self, ticket: Ticket, work: float) -> None:
        """Charge what `ticket` really got in place of what was predicted."""
        if ticket.tenant in self.counters:
            self.counters[ticket.tenant] += (work - ticket.expected.work) / ticket.weight

    def _lift(self, tenant: str) -> None:
        floor = min(self.counters[name] for name in self._lines) if self._lines else self._reached
        if self.counters.get(tenant, -1.0) < floor:
            self.counters[tenant] = floor
        if len(self.counters) > REMEMBERED:
            self._forget(tenant)

    def _forget(self, tenant: str) -> None:
        """Forget half of the counters: the lowest of those that have nothing waiting, who owe least."""
        kept = {name: self.counters[name] for name in (*self._lines, tenant)}
        owing = sorted(self.counters.items(), key=lambda item: -item[1])
        self.counters = dict(owing[: REMEMBERED // 2]) | kept

    def _count(self, line: _Line, ticket: Ticket, sign: int) -> None:
        self.count += sign
        self.work_s += sign * ticket.expected.service_s
        line.work_s += sign * ticket.expected.service_s
        if not line.tickets:
            del self._lines[ticket.tenant]
        if not self.count:
            self.work_s = 0.0  # sums of floats drift
