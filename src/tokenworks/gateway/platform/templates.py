"""`{{ item.x.y }}` and `{{ sample.output_text }}`: names of values, and nothing else of any template language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tokenworks.core.errors import DataError
from tokenworks.core.ids import canonical_json
from tokenworks.gateway.errors import bad_request

_HOLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"(item|sample)((?:\.[\w-]+)+)")


def check_template(template: str, *, param: str, sample: bool) -> None:
    """Raise 400 for a hole that names nothing we know; with `sample` False there is no answer yet to speak of."""
    for hole in _HOLE.findall(template):
        found = _PATH.fullmatch(hole.strip())
        if found is None or (found[1] == "sample" and (not sample or found[2] != ".output_text")):
            there = "{{ item.NAME }}" + (" and {{ sample.output_text }}" if sample else "")
            raise bad_request(f"{{{{{hole[:80]}}}}} is not understood; there are {there}", param=param)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return `template` with its holes filled; raise `DataError` naming a value that the row lacks."""
    return _HOLE.sub(lambda hole: _text(_value(hole[1].strip(), values)), template)


def lookup(path: str, values: Mapping[str, Any]) -> Any:
    """Return the value called `path`, such as item.question; raise `DataError` where there is none."""
    return _value(path.strip(), values)


def _value(path: str, values: Mapping[str, Any]) -> Any:
    found: Any = values
    for name in path.split("."):
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and len(name) < 9 and int(name) < len(found):
            found = found[int(name)]
        else:
            raise DataError(f"the row has no {path}")
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()
