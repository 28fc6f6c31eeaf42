"""Which table each kind of entry has: its columns are the fields of the entry. Knows no database."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from msgspec.inspect import BoolType, FloatType, IntType, StrType, StructType, UnionType, type_info

from tokenworks.ledger.entries import AnyEntry, RequestEntry
from tokenworks.ledger.spending import alias_of, charged, day_of

Kind = Literal["text", "integer", "real", "boolean", "json"]
Row = tuple[Any, ...]
_KINDS: dict[type, Kind] = {StrType: "text", IntType: "integer", FloatType: "real", BoolType: "boolean"}
_PLURALS = {"feedback": "feedback", "access": "accesses"}
_json = msgspec.json.Encoder(order="deterministic")


class Column(NamedTuple):
    """A column; `json` is text that holds JSON."""

    name: str
    kind: Kind


class Table(NamedTuple):
    """A table whose rows are entries; the first two columns are the entry's place and the key."""

    name: str
    columns: tuple[Column, ...]
    row: Callable[[Any], Row]  # of an entry, without its place

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)


PLACE = (Column("writer", "text"), Column("idx", "integer"))
USAGE_KEY = tuple(Column(name, "text") for name in ("day", "tenant", "key_id", "model", "project"))
USAGE_SUMS = tuple(
    Column(name, "integer")
    for name in ("requests", "answered", "prompt_tokens", "cached_tokens", "completion_tokens", "charged_tokens")
)
_day = lru_cache(maxsize=1024)(lambda number: day_of(number * 86_400.0))


class Usage:
    """Sums per day, tenant, project, key and model. Whole numbers alone: their sum does not depend on the order."""

    def __init__(self) -> None:
        self._sums: dict[Row, list[int]] = {}

    def add(self, entry: RequestEntry) -> None:
        """Take in a request; samples for an answer count with that one."""
        row = (_day(entry.at // 86_400), entry.tenant, entry.key_id, alias_of(entry.model), entry.project)
        sums = self._sums.get(row)
        if sums is None:
            sums = self._sums[row] = [0] * len(USAGE_SUMS)
        if not entry.part_of:
            sums[0] += 1
            sums[1] += entry.outcome == "ok"
            sums[2] += entry.prompt_tokens
            sums[3] += entry.cached_tokens
            sums[4] += entry.completion_tokens
            sums[5] += charged(entry)

    def rows(self) -> list[Row]:
        """Return key and sums."""
        return [(*key, *sums) for key, sums in self._sums.items()]


def _table_of(entry: type[msgspec.Struct]) -> Table:
    tag = str(entry.__struct_config__.tag).replace("-", "_")
    name = _PLURALS.get(tag) or (f"{tag[:-1]}ies" if tag.endswith("y") else f"{tag}s")
    found = list(_fields(entry))
    columns = tuple(Column(name, kind) for name, kind, _ in found)
    take = attrgetter(*(path for _, _, path in found))
    packed = [place for place, column in enumerate(columns) if column.kind == "json"]
    return Table(name, PLACE + columns, _packing(take, packed) if packed else take)


def _packing(take: Callable[[Any], Row], packed: list[int]) -> Callable[[Any], Row]:
    def row(entry: Any) -> Row:
        values = list(take(entry))
        for place in packed:
            values[place] = _json.encode(values[place]).decode()
        return tuple(values)

    return row


def _fields(entry: type[msgspec.Struct]) -> list[tuple[str, Kind, str]]:
    """Return name, kind and path of each column. Salts and digests prove texts: they stay in the log."""
    found: list[tuple[str, Kind, str]] = []
    info = type_info(entry)
    assert isinstance(info, StructType), f"{entry} is a struct"
    for field in info.fields:
        if field.name == "salt" or field.name.endswith("_digest"):
            continue
        if isinstance(field.type, StructType):  # a release: its fields are the columns
            taken = {name for name, _, _ in found}
            for name, kind, path in _fields(field.type.cls):
                found.append((f"{field.name}_{name}" if name in taken else name, kind, f"{field.name}.{path}"))
        else:
            found.append((field.name, _kind(field.type), field.name))
    return found


def _kind(found: Any) -> Kind:
    if isinstance(found, UnionType):  # optional: the column may be null
        return next((_KINDS[type(one)] for one in found.types if type(one) in _KINDS), "json")
    return _KINDS.get(type(found), "json")


TABLES: dict[type, Table] = {entry: _table_of(entry) for entry in get_args(AnyEntry)}
COLUMNS: dict[str, tuple[Column, ...]] = {
    **{table.name: table.columns for table in TABLES.values()},
    "usage": USAGE_KEY + USAGE_SUMS,
}
