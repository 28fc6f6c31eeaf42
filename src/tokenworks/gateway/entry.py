"""What the ledger is told of a request: its entry, from what the layers found out."""

from __future__ import annotations

import hashlib
import time

from tokenworks.core.entropy import random_bytes
from tokenworks.gateway.exchange import Exchange
from tokenworks.ledger.entries import RequestEntry, Transfer
from tokenworks.ledger.inflight import KILLED

_NO_ROOM = frozenset({"overloaded", "shutting_down"})  # refused by us, though the status is a 503


def entry_of(exchange: Exchange, *, outcome: str, status: int, code: str, answer: bytes) -> RequestEntry:
    """Return the ledger entry of an exchange that has ended."""
    principal, asked, usage, spent = exchange.principal, exchange.asked, exchange.usage, exchange.spent
    salt = random_bytes(16)
    ruling = exchange.ruling
    entry = RequestEntry(
        at=exchange.at,
        request_id=exchange.request_id,
        endpoint=exchange.endpoint,
        face=exchange.face,
        stored=exchange.stored,
        outcome=outcome,
        status=status,
        tenant=principal.tenant if principal else "",
        key_id=principal.key_id if principal else "",
        project=principal.project if principal else "",
        grant=principal.grant if principal else "",
        model=asked.model if asked else "",
        version=exchange.version,
        engine=exchange.engine,
        label=str(exchange.label) if exchange.label is not None else "",
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        thinking_tokens=usage.thinking_tokens,
        replays=exchange.replays,
        price_micro=exchange.price_micro(),
        cost_micro=exchange.cost_micro() or 0,
        ttft_s=_to_microseconds(exchange.ttft_s),
        latency_s=_to_microseconds(time.monotonic() - exchange.started_s),
        salt=salt.hex(),
        prompt_digest=hashlib.sha256(salt + exchange.body).hexdigest() if exchange.body else "",
        answer_digest=hashlib.sha256(salt + answer).hexdigest() if answer else "",
        error=code,
        user=exchange.user,
        conversation=exchange.conversation,
        learn=exchange.may_learn,
        arm=exchange.arm,
        sent=tuple(exchange.sent),
        resumed=exchange.resumed,
        transfers=_transfers(exchange),
        policies=ruling.digest if ruling is not None else "",
        denied_by=ruling.denied_by if ruling is not None else "",
        engine_s=spent.engine_s,
        joules=spent.joules,
        joules_error=spent.joules_error,
        meter=spent.meter,
    )
    return entry if exchange.thought is None else exchange.thought.mark(entry)


def _to_microseconds(seconds: float) -> float:
    """Return what `round(seconds, 6)` returns, at a fifth of its cost."""
    return int(seconds * 1e6 + 0.5) / 1e6


def _transfers(exchange: Exchange) -> tuple[Transfer, ...] | None:
    """Return what each attempt came to; None where an engine was called and nobody counted: that is no proof."""
    if not exchange.traffic:
        return () if exchange.call is None else None
    label = str(exchange.outgoing)
    return tuple(
        [
            Transfer(
                one.destination.name, one.destination.region, one.address, label, one.sent_bytes, one.received_bytes
            )
            for one in exchange.traffic
        ]
    )


def if_killed(exchange: Exchange) -> RequestEntry:
    """Return the entry that a stream gets when the gateway is killed under it."""
    principal, asked, ruling = exchange.principal, exchange.asked, exchange.ruling
    return RequestEntry(
        at=exchange.at,
        request_id=exchange.request_id,
        endpoint=exchange.endpoint,
        face=exchange.face,
        outcome="failed",
        status=500,
        tenant=principal.tenant if principal else "",
        key_id=principal.key_id if principal else "",
        project=principal.project if principal else "",
        grant=principal.grant if principal else "",
        model=asked.model if asked else "",
        version=exchange.version,
        engine=exchange.engine,
        label=str(exchange.label) if exchange.label is not None else "",
        error=KILLED,
        user=exchange.user,
        conversation=exchange.conversation,
        learn=False,
        arm=exchange.arm,
        transfers=None,  # what will have been received nobody knows yet
        policies=ruling.digest if ruling is not None else "",
    )


def outcome_of(status: int, code: str) -> str:
    """Return the ledger's word for how a request ended."""
    if status < 400:
        return "ok"
    if status == 499:
        return "cancelled"
    return "refused" if status < 500 or code in _NO_ROOM else "failed"
