"""Find a room's variants: the files in its folder, then what installed packages offer under its entry-point group."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

from tokenworks.core.errors import ConfigError


def names(room: str) -> list[str]:
    """Return the variants of `room`, a dotted package such as 'tokenworks.serving.engines', sorted."""
    package = importlib.import_module(room)
    own = {module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")}
    return sorted(own | {point.name for point in entry_points(group=room)})


def load(room: str, name: str) -> ModuleType:
    """Return the module of variant `name` of `room`; raise `ConfigError` naming those that exist."""
    known = names(room)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        raise ConfigError(f"{room.rsplit('.', 1)[-1]} {name!r} does not exist; {hint}")
    for point in entry_points(group=room):
        if point.name == name:
            module = point.load()
            assert isinstance(module, ModuleType), f"entry point {room}:{name} must name a module"
            return module
    return importlib.import_module(f"{room}.{name}")
