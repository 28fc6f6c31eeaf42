"""One destination: its queue, and what is known of how long its requests take."""

from __future__ import annotations

from tokenworks.core.usage import Usage
from tokenworks.gateway.admission.predict import Predictor, work_of
from tokenworks.gateway.admission.queue import FairQueue
from tokenworks.gateway.admission.ticket import Ticket


class Place:
    """An engine with `slots`; 0: as many as come."""

    def __init__(self, slots: int, *, most: int) -> None:
        self.queue = FairQueue(slots, most=most)
        self.predictor = Predictor()

    def end(self, ticket: Ticket, usage: Usage, now_s: float, began_s: float, *, cut: bool) -> None:
        """Learn from a request that held a slot from `began_s` on, charge for it, and let the next begin."""
        took_s, expected = now_s - began_s, ticket.expected
        work = work_of(usage.prompt_tokens, usage.completion_tokens)
        if cut:
            self.predictor.learn_cut(expected, took_s)
            share = min(1.0, took_s / expected.service_s) if expected.service_s else 1.0
            work = max(work, expected.work * share)  # who hangs up before the engine has counted is not let off
        else:
            self.predictor.learn(ticket.tenant, expected, usage=usage, took_s=took_s)
        if self.queue.slots:
            self.queue.leave(ticket, work, now_s)
