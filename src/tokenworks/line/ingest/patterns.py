"""Globs over relative paths."""

from __future__ import annotations

import functools
import re
from fnmatch import translate


def matches(path: str, pattern: str) -> bool:
    """Tell whether `pattern` covers `path` (relative, '/'): a folder's pattern covers all below it.

    Without '/', the pattern is held against every single component: `test` covers `a/test/b.py`.
    """
    found = _compiled(pattern.rstrip("/"))
    if "/" not in pattern.rstrip("/"):
        return any(found.match(component) for component in path.split("/"))
    if found.match(path):
        return True
    stem = pattern.removesuffix("/**").removesuffix("/*").rstrip("/")
    below = _compiled(stem)
    parents = path.split("/")
    return any(below.match("/".join(parents[:depth])) for depth in range(1, len(parents)))


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
