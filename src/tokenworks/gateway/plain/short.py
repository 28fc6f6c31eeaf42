"""Whether this gateway has a short form of its list of layers at all, and which."""

from __future__ import annotations

from tokenworks.gateway.duties import Duties
from tokenworks.gateway.parts import GatewayParts
from tokenworks.gateway.plain.plain import Plain
from tokenworks.gateway.plain.plans import Plans
from tokenworks.gateway.route.router import Router


def short_form(parts: GatewayParts, duties: Duties, router: Router, *, max_body: int) -> Plain | None:
    """Return what answers plain requests in one go; None where something is configured that has no place in it.

    That is: layers that are not in the list, and what tells figures with answers.
    """
    if parts.look is not None or parts.around is not list or parts.cost is not None:
        return None
    limit, admit, schedule = duties.limit, duties.admit, duties.schedule
    plans = Plans(parts.keys, parts.releases, duties.rules, duties.terms, limit, schedule, router)
    return Plain(plans, parts.pool, duties.record, limit, admit, schedule, router, max_body=max_body)
