"""A question to the policies: everything that a decision depends on, and nothing else."""

from __future__ import annotations

import time

import msgspec

from tokenworks.core.destination import Destination
from tokenworks.core.label import Label
from tokenworks.governance.keys import Principal

ACTIONS = ("infer", "send", "search", "feedback", "files", "tune", "evals")
SERVICES = ACTIONS[2:]
WEEK_H = 7 * 24
_THURSDAY_H = 3 * 24  # the Unix epoch began on a Thursday


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model version as policies see it: another alias for it is the same model."""

    name: str
    version: str = ""
    label: Label = Label.PUBLIC
    tenant: str = ""  # whose it is alone; empty: everybody's


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """May `who` do `action`? With a `model` for infer and send, and a `destination` for send."""

    action: str
    who: Principal
    hour_of_week: int  # 0 to 167, from Monday 00:00 UTC
    model: Model | None = None
    prompt: Label = Label.PUBLIC
    destination: Destination | None = None

    @property
    def answer(self) -> Label:
        """The label that the answer would carry."""
        return self.prompt if self.model is None else max(self.prompt, self.model.label)

    @property
    def hour(self) -> int:
        """Hour of the day, UTC."""
        return self.hour_of_week % 24

    @property
    def weekday(self) -> int:
        """Day of the week, 1 (Monday) to 7."""
        return self.hour_of_week // 24 + 1


def hour_of_week(at_s: float) -> int:
    """Return the hour since Monday 00:00 UTC of a time in seconds since the Unix epoch."""
    return (int(at_s) // 3600 + _THURSDAY_H) % WEEK_H


def this_hour() -> int:
    """Return the present hour of the week."""
    return hour_of_week(time.time())


def request_of(question: Question) -> dict[str, object]:
    """Return the question as Cedar takes it."""
    context: dict[str, object] = {"hour": question.hour, "weekday": question.weekday}
    if question.who.task:
        context["grant"] = question.who.task
    if question.model is not None:
        context |= {"prompt": int(question.prompt), "answer": int(question.answer)}
    if question.destination is not None:
        context["destination"] = _place(question.destination)
    return {
        "principal": {"type": "Key", "id": question.who.key_id},
        "action": {"type": "Action", "id": question.action},
        "resource": _resource(question),
        "context": context,
    }


def entities_of(question: Question) -> list[dict[str, object]]:
    """Return the key with its roles, tenant and project, and the model, with their attributes."""
    who = question.who
    key: dict[str, object] = {
        "tenant": who.tenant,
        "project": who.project,
        "name": who.name,
        "person": who.person,
        "scopes": sorted(who.scopes),
        "clearance": int(who.clearance),
    }
    if who.models:
        key["models"] = list(who.models)
    parents = [{"type": "Tenant", "id": who.tenant}, *({"type": "Role", "id": role} for role in who.roles)]
    if who.project:
        parents.append({"type": "Project", "id": f"{who.tenant}/{who.project}"})
    entities: list[dict[str, object]] = [
        {"uid": {"type": "Key", "id": who.key_id}, "attrs": key, "parents": parents},
    ]
    if question.model is not None:
        attrs = msgspec.structs.asdict(question.model) | {"label": int(question.model.label)}
        entities.append({"uid": _resource(question), "attrs": attrs, "parents": []})
    return entities


def _resource(question: Question) -> dict[str, str]:
    if question.model is None:
        return {"type": "Service", "id": question.action}
    return {"type": "Model", "id": question.model.name}


def _place(destination: Destination) -> dict[str, object]:
    return {
        "name": destination.name,
        "region": destination.region,
        "clearance": int(Label.parse(destination.clearance)),
        "leaves_site": destination.leaves_site,
    }
