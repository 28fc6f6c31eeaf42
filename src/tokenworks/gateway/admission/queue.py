"""Who is next when an engine is full: strict by priority, fair between tenants, bounded by predicted work.

Knows neither HTTP nor clocks: whoever calls says what time it is. The recipe and what it was measured against:
docs/admission.md.
"""

from __future__ import annotations

from tokenworks.core.priority import Priority
from tokenworks.gateway.admission.lines import Lines
from tokenworks.gateway.admission.ticket import Ticket


class FairQueue:
    """`slots` requests at a time; the others wait, `most` of them, or are refused where they would wait in vain."""

    def __init__(self, slots: int, *, most: int = 512) -> None:
        self.slots = slots
        self.most = most
        self.in_flight = 0
        self.waiting = 0
        self._lines = [Lines() for _ in Priority]

    @property
    def full(self) -> bool:
        """Whether a request would have to wait."""
        return 0 < self.slots <= self.in_flight

    def enter(self, ticket: Ticket) -> bool:
        """Take a slot if one is free; nobody waits then."""
        if self.in_flight >= self.slots:
            return False
        self.in_flight += 1
        self._lines[ticket.priority].charge(ticket)
        return True

    def wait(self, ticket: Ticket, now_s: float) -> bool:
        """Take a place in the queue; return False where there is none from which a slot is reached in time.

        Where the tenant's own requests are in the way, its oldest gives way: that one has the least time left.
        """
        lines = self._lines[ticket.priority]
        while self.wait_s(ticket) > max(0.0, ticket.hopeless_s - now_s):
            oldest = lines.oldest(ticket.tenant)
            if oldest is None or oldest.hopeless_s > ticket.hopeless_s:
                return False
            self.refuse(oldest)
        while self.waiting >= self.most:
            longest = self._longest(ticket)
            if longest is None:
                return False
            self.refuse(longest)
        lines.push(ticket)
        ticket.waiting = True
        self.waiting += 1
        return True

    def wait_s(self, ticket: Ticket) -> float:
        """Return how long `ticket` would wait: the predicted work before it, divided by the slots (Little's law)."""
        before_s = sum(lines.work_s for lines in self._lines[: ticket.priority])
        return (before_s + self._lines[ticket.priority].before_s(ticket)) / self.slots

    def leave(self, ticket: Ticket, work: float, now_s: float) -> None:
        """Charge the tenant for the work that it got, and give the slot to the next in turn."""
        self._lines[ticket.priority].correct(ticket, work)
        self.in_flight -= 1
        if self.waiting:
            self.pass_on(now_s)

    def pass_on(self, now_s: float) -> None:
        """Give free slots to those who wait; refuse on the way those for whom it is too late."""
        while self.in_flight < self.slots:
            ticket = self._next(now_s)
            if ticket is None:
                return
            if ticket.hopeless_s < now_s:
                ticket.told(False)
                continue
            self.in_flight += 1
            self._lines[ticket.priority].charge(ticket)
            if not ticket.told(True):  # it had just hung up
                self._lines[ticket.priority].correct(ticket, 0.0)
                self.in_flight -= 1

    def refuse(self, ticket: Ticket) -> None:
        """Tell a request that still waits that it gets no slot."""
        if ticket.waiting:
            self.give_up(ticket)
            ticket.told(False)

    def give_up(self, ticket: Ticket) -> None:
        """Leave the queue without a slot. Harmless where it is not waiting any more."""
        if ticket.waiting:
            ticket.waiting = False
            self.waiting -= 1
            self._lines[ticket.priority].remove(ticket)

    def _longest(self, ticket: Ticket) -> Ticket | None:
        """Return who makes room for `ticket`: of the least urgent, the oldest of whose line is longest.

        So who sends most loses most (longest queue drop: McKenney, "Stochastic Fairness Queueing", 1990).
        """
        for lines in reversed(self._lines[ticket.priority :]):
            if lines.count:
                return lines.oldest_of_longest()
        return None

    def _next(self, now_s: float) -> Ticket | None:
        for lines in self._lines:
            ticket = lines.pop(now_s)
            if ticket is not None:
                ticket.waiting = False
                self.waiting -= 1
                return ticket
        return None
