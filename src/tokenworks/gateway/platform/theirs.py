"""What a caller may see of the catalog's objects: its own tenant's, up to its clearance. All else does not exist."""

from __future__ import annotations

from tokenworks.core.label import Label
from tokenworks.governance.keys import Principal
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects


def all_theirs(objects: Objects, kind: str, who: Principal) -> list[Object]:
    """Return the objects of `kind` that `who` may see, oldest first."""
    return [one for one in objects.of(kind, who.tenant) if cleared(who, one)]


def one_theirs(objects: Objects, kind: str, id: str, who: Principal) -> Object | None:
    """Return the object, None where there is none that `who` may see."""
    found = objects.get(kind, id)
    return found if found is not None and found.scope == who.tenant and cleared(who, found) else None


def cleared(who: Principal, one: Object) -> bool:
    """Return whether the label of `one` is not above the caller."""
    return Label.parse(one.body.get("label", str(Label.PUBLIC))) <= who.clearance  # evals had none once
