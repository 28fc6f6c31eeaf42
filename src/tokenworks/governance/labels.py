"""The label rule: an answer carries the highest label of all that went into it, and only the cleared may have it."""

from __future__ import annotations

from tokenworks.core.destination import Destination
from tokenworks.core.errors import RefusedError
from tokenworks.core.label import Label, highest


def answer_label(prompt: Label, model: Label, *, clearance: Label, name: str) -> Label:
    """Return the label of an answer; raise `RefusedError` when `clearance` does not reach it.

    The model's label is the highest of what it was trained on: it may repeat any of it.
    """
    if model > clearance:
        raise RefusedError(
            f"model {name!r} was trained on {model} data and this key is cleared for {clearance}: "
            f"ask for a key cleared for {model}, or use a model with a lower label"
        )
    if prompt > clearance:
        raise RefusedError(
            f"the prompt is declared {prompt} and this key is cleared for {clearance}: "
            f"ask for a key cleared for {prompt}, or declare the label that the text really has"
        )
    return highest([prompt, model])


def outgoing_label(declared: Label | None, *, accepts: Label, clearance: Label, name: str) -> Label:
    """Return the label that a prompt counts as; raise `RefusedError` when the model may not see it.

    Text that nobody has declared counts as public for a model that may see everything. For one that may not, such as
    a server elsewhere, it counts as the most that the key could have taken it from.
    """
    label = counts_as(declared, accepts=accepts, clearance=clearance)
    if label > accepts:
        raise RefusedError(
            f"model {name!r} may see {accepts} text at most and this prompt counts as {label}: "
            "declare its label with the header x-tokenworks-label, or use a model of this house"
        )
    return label


def counts_as(declared: Label | None, *, accepts: Label, clearance: Label, least: Label = Label.PUBLIC) -> Label:
    """Return the label that a prompt counts as for whom may see `accepts`; `least` can only raise it."""
    if declared is None:
        return max(Label.PUBLIC if accepts is Label.RESTRICTED else clearance, least)
    return max(declared, least)


def cleared(destination: Destination, label: Label) -> str:
    """Return why text with `label` may not go to `destination`, or nothing where it may."""
    if label <= Label.parse(destination.clearance):
        return ""
    return f"{destination.name} is cleared for {destination.clearance} and the text counts as {label}"
