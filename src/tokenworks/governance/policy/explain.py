"""Decisions in words: which policy, and because of what."""

from __future__ import annotations

from collections.abc import Mapping

from tokenworks.governance.policy.questions import Question
from tokenworks.governance.principal import Principal


def denial(question: Question, ids: tuple[str, ...], reasons: Mapping[str, str]) -> str:
    """Return why the question was denied; `reasons` are the operator's own words, by policy id."""
    if not ids:
        return f"denied because no policy permits it: {facts(question)}"
    because = "; ".join(dict.fromkeys(_because(question, name, reasons) for name in ids))
    return f"denied by policy {', '.join(ids)} because {because}"


def allowance(question: Question, ids: tuple[str, ...]) -> str:
    """Return by what the question was allowed."""
    return f"allowed by policy {', '.join(ids)}: {facts(question)}"


def failure() -> str:
    """Return what to tell where a policy could not be evaluated; which one and how is for the operator's log."""
    return "denied because a policy could not be evaluated; the operator finds which one in the log"


def facts(question: Question) -> str:
    """Return what the decision was made on, in one line."""
    who, model, place = question.who, question.model, question.destination
    said = [f"key {who.key_id} of tenant {who.tenant} ({', '.join(_standing(who))})"]
    if model is None:
        said.append(f"asks for {question.action}")
    else:
        said.append(f"asks {model.name} ({model.label}) with a prompt that counts as {question.prompt}")
    if place is not None:
        said.append(f"at {place.name} (region {place.region}, cleared for {place.clearance})")
    return " ".join(said) + f", day {question.weekday} hour {question.hour} UTC"


def _standing(who: Principal) -> list[str]:
    """Return what the caller has that policies speak of; what it has not is not said."""
    said = [f"cleared for {who.clearance}"]
    if who.project:
        said.append(f"project {who.project}")
    if who.roles:
        said.append(f"in the role{'s' * (len(who.roles) > 1)} {' and '.join(who.roles)}")
    if who.task:
        said.append(f"with the grant for {who.task!r}")
    return said


def _because(question: Question, name: str, reasons: Mapping[str, str]) -> str:
    if name in reasons:
        return reasons[name]
    who, model, place = question.who, question.model, question.destination
    if name == "model-above-key" and model is not None:
        return (
            f"model {model.name!r} was trained on {model.label} data and this key is cleared for {who.clearance}: "
            f"ask for a key cleared for {model.label}, or use a model with a lower label"
        )
    if name == "outside-grant" and model is not None:
        return (
            f"the grant for {who.task!r} is for {', '.join(who.models)} alone, not for {model.name}: "
            "ask one of these, or for a grant that names it too"
        )
    if name == "prompt-above-key":
        return (
            f"the prompt counts as {question.prompt} and this key is cleared for {who.clearance}: "
            f"ask for a key cleared for {question.prompt}, or declare the label that the text really has"
        )
    if name == "destination-not-cleared" and place is not None:
        return (
            f"the answer would carry {question.answer}, since the prompt counts as {question.prompt}, "
            f"and {place.name} is cleared for {place.clearance} text at most: "
            "declare the label of the prompt with the header x-tokenworks-label, or use a model of this house"
        )
    return facts(question)
