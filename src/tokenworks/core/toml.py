"""Read a TOML file into a typed struct; a wrong key or value is named with its line and the nearest right one."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from tokenworks.core.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)
_PATH = re.compile(r"at `\$\.?([^`]*)`")


def read_toml(path: Path, into: type[T]) -> T:
    """Return the file at `path` as an `into`; raise `ConfigError` naming file, line and the way out."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8") from None
    return parse_toml(text, into, where=str(path))


def parse_toml(text: str, into: type[T], *, where: str) -> T:
    """Return `text` as an `into`; `where` names the source in errors."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None
    return convert(table, into, where=where, text=text)


def convert(table: dict[str, Any], into: type[T], *, where: str, text: str = "") -> T:
    """Return `table` as an `into`, refusing unknown keys at any depth."""
    _refuse_unknown(table, into, (), where, text)
    try:
        return msgspec.convert(table, into, strict=False)
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error))
        keys = tuple(part for part in re.split(r"[.\[]", found[1]) if part and not part.endswith("]")) if found else ()
        reason = _PATH.sub("", str(error)).strip(" -")
        raise ConfigError(f"{where}{line_of(text, keys)}: {'.'.join(keys) or 'file'}: {reason}") from None


def _refuse_unknown(table: dict[str, Any], into: type, path: tuple[str, ...], where: str, text: str) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(into)}
    for key, value in table.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(fields))}"
            section = f" in [{'.'.join(path)}]" if path else ""
            raise ConfigError(f"{where}{line_of(text, (*path, key))}: unknown key {key!r}{section}; {hint}")
        kind = fields[key].type
        for inner in (kind, *get_args(kind)):
            if not (isinstance(inner, type) and issubclass(inner, msgspec.Struct)):
                continue
            for name, nested in _tables(value, kind):
                _refuse_unknown(nested, inner, (*path, key, *name), where, text)


def _tables(value: Any, kind: Any) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """Return the tables in `value` with their place: itself, those of an array, or those that stand under names."""
    if isinstance(value, list):
        return [((), one) for one in value if isinstance(one, dict)]
    if get_origin(kind) is dict and isinstance(value, dict):
        return [((name,), one) for name, one in value.items() if isinstance(one, dict)]
    return [((), value)] if isinstance(value, dict) else []


def line_of(text: str, keys: tuple[str, ...]) -> str:
    """Return ` line N` for the dotted key path `keys` in TOML `text`, or nothing where it cannot be found."""
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            section = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            if section == keys:
                return f" line {number}"
        elif entry := re.match(r"\s*(\"[^\"]+\"|'[^']+'|[\w.-]+)\s*=", line):
            name = entry[1].strip("\"'")
            path = (*section, *(name.split(".") if entry[1][0] not in "\"'" else [name]))
            if path == keys or (len(path) < len(keys) and keys[: len(path)] == path):
                return f" line {number}"
    return ""
