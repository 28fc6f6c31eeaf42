"""Responses that nobody waits for, in the catalog: what is to be asked, in whose name, and how far it has come.

The prompt lies with the texts of the request that was accepted. A response is here until it has come to its end, which
is one change of one object; then it moves to where all responses are. A kill between two steps leaves the next to
`settle`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tokenworks.gateway.platform.shelf import add_once, change
from tokenworks.gateway.responses.kept import KIND, Kept
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

WAITING = "response_waiting"
LIVE = frozenset({"queued", "in_progress"})
DELETED = "deleted"


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A response on its way. `kept` names the texts of its acceptance until it is answered."""

    kept: Kept
    tenant: str
    home: str = ""  # whose texts have the prompt: there it is worked on
    key_id: str  # in whose name the model is asked
    declared: str = ""
    inside: str = "public"  # what the prompt counts as at least, by what it goes on from: here ...
    outside: str = "public"  # ... and elsewhere
    conversation: str = ""
    may_learn: bool = True
    urgency: str = ""
    due_ms: str = ""
    asked_as: str = ""  # the request of the last attempt


def kept_in(found: Object) -> Kept:
    """Return what is kept of a response, wherever it is."""
    body = found.body["kept"] if found.kind == WAITING else found.body
    kept: Kept = msgspec.convert(body, Kept)
    return kept


def asking(objects: Objects, id: str, request_id: str) -> Waiting | None:
    """Note that it is asked as `request_id`; return None where nobody wants it any more."""

    def step(waiting: Waiting) -> Waiting | None:
        if waiting.kept.status not in LIVE:
            return None
        kept = msgspec.structs.replace(waiting.kept, status="in_progress")
        return msgspec.structs.replace(waiting, kept=kept, asked_as=request_id)

    return change(objects, WAITING, id, Waiting, step)


def end(objects: Objects, id: str, step: Callable[[Kept], Kept]) -> bool:
    """End it as `step` says; return False where it had come to another end before."""

    def ended(waiting: Waiting) -> Waiting | None:
        if waiting.kept.status not in LIVE:
            return None
        return msgspec.structs.replace(waiting, kept=step(waiting.kept))

    if change(objects, WAITING, id, Waiting, ended) is None:
        return False
    settle(objects, id)
    return True


def forget(objects: Objects, id: str) -> Waiting | None:
    """Take it out of here, however far it is, and return it as it last was; None where it is not here."""

    def step(waiting: Waiting) -> Waiting:
        return msgspec.structs.replace(waiting, kept=msgspec.structs.replace(waiting.kept, status=DELETED))

    gone = change(objects, WAITING, id, Waiting, step)
    objects.delete(WAITING, id)
    return gone


def settle(objects: Objects, id: str) -> None:
    """Move what has come to its end to where all responses are."""
    found = objects.get(WAITING, id)
    if found is None or (kept := kept_in(found)).status in LIVE:
        return
    if kept.status != DELETED:
        body = msgspec.to_builtins(kept)
        add_once(objects, Object(kind=KIND, id=id, scope=found.scope, body=body, created_at=found.created_at))
    objects.delete(WAITING, id)
