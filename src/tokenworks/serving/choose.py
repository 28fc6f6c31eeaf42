"""Which engine serves a model folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tokenworks import parts
from tokenworks.core.errors import EngineError

ROOM = "tokenworks.serving.engines"
ORDER = ("encoder", "openvino", "transformers")  # the fastest that can, first
NEEDS = {"openvino": "openvino_genai", "transformers": "torch"}


def choose_for(folder: Path, generation: str) -> str:
    """Return the name of the engine for `folder`: `generation` where it generates, else the first that serves it."""
    encodes = parts.load(ROOM, "encoder").serves(folder)
    return choose_engine(folder, "auto" if encodes else generation)


def choose_engine(folder: Path, wanted: str = "auto") -> str:
    """Return the name of the engine for `folder`: `wanted` if it exists, else the first that serves it.

    Raises `ConfigError` for a name that does not exist, `EngineError` where no installed engine serves the folder.
    """
    if wanted != "auto":
        parts.load(ROOM, wanted)
        return wanted
    known = parts.names(ROOM)
    others = [name for name in known if name not in ORDER and name != "remote"]
    missing = []
    for name in [*(name for name in ORDER if name in known), *others]:
        if not parts.load(ROOM, name).serves(folder):
            continue
        if name in NEEDS and find_spec(NEEDS[name]) is None:
            missing.append(name)
            continue
        return name
    if missing:
        raise EngineError(
            f"{folder} needs the engine {missing[0]!r}, which is not installed: pip install 'tokenworks[all]'"
        )
    raise EngineError(f"no engine serves {folder}; there are: {', '.join(known)}")
