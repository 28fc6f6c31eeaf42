"""JSON Schemas of types: each family of types under names of its own. msgspec writes them; here they are put together.

What two rooms call `Wanted` is `MessagesWanted` and `ResponsesWanted` to a reader of the description.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tokenworks.gateway.openapi.operation import Operation, Refusal

AT = "#/components/schemas/"
Schema = dict[str, Any]


class Schemas:
    """The schemas of all types that operations name."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.components: dict[str, Schema] = {}
        self._found: dict[tuple[str, str], Schema] = {}
        families: dict[str, list[Operation]] = {}
        for one in operations:
            families.setdefault(one.family, []).append(one)
        families.setdefault("", [])
        for family, those in sorted(families.items()):
            self._add(family, those)
        self._drop_unused()

    def of(self, family: str, type: Any) -> Schema:
        """Return the schema of a type that an operation of the family names."""
        return self._found[family, repr(type)]

    def _add(self, family: str, operations: list[Operation]) -> None:
        named = [type for one in operations for type in _types(one)] + ([] if family else [Refusal])
        types = list({repr(type): type for type in named}.values())
        shown, components = msgspec.json.schema_components(types, ref_template=f"{AT}{family}{{name}}")
        self._found |= {(family, repr(type)): schema for type, schema in zip(types, shown, strict=True)}
        for one in operations:
            for field, narrow in one.narrowed.items():
                components[one.body.__name__]["properties"][field] = self.of(family, narrow)
            for name, field in one.optional:
                components[name]["required"] = [each for each in components[name]["required"] if each != field]
        self.components |= {f"{family}{name}": schema for name, schema in components.items()}

    def _drop_unused(self) -> None:
        """Forget what a narrowed field no longer names."""
        named = msgspec.json.encode([self.components, list(self._found.values())])
        self.components = {name: one for name, one in self.components.items() if f'"{AT}{name}"'.encode() in named}


def _types(one: Operation) -> list[Any]:
    refusal = one.refusal if one.family and one.refusal is not Refusal else None
    wanted = (one.body, one.form, one.answer, one.events, refusal, *(query.type for query in one.query))
    return [type for type in (*wanted, *one.narrowed.values()) if type is not None]
