"""The modules that every request passes through, in compiled form where somebody has made one of exactly these sources.

`tokenworks compile` makes it (`core/compiling.py`), the command line uses it. Why, and why these modules:
docs/decisions/0293-the-hot-path-compiled.md.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parent.parent
GROUP = "tokenworks"  # mypyc keeps all code in one library, `GROUP__mypyc`, which each module's file points into
# None of them holds a coroutine or a struct: mypyc 2.4 miscounts references when a coroutine is cancelled, and does not
# make classes of msgspec. None is imported by the command line before it knows what it was asked.
MODULES = (
    "core.sse",
    "gateway.admission.lines",
    "gateway.admission.place",
    "gateway.admission.predict",
    "gateway.admission.queue",
    "gateway.admission.ticket",
    "gateway.counts",
    "gateway.entry",
    "gateway.http.connection",
    "gateway.http.incoming",
    "gateway.limits.bucket",
    "gateway.limits.bundle",
    "gateway.limits.told",
    "gateway.meter",
    "gateway.openai.bodies",
    "gateway.openai.sizes",
    "gateway.plain.plain",
    "gateway.plain.plans",
    "gateway.tally",
    "ledger.writer",
    "serving.connection",
    "serving.link",
    "serving.traffic",
)
SUFFIX = EXTENSION_SUFFIXES[0]


def folder() -> Path:
    """Return where compiled forms are kept: beside the installed packages, and as trusted as they are."""
    return Path(sysconfig.get_path("platlib")) / "tokenworks_compiled"


def source(module: str) -> Path:
    """Return the file of one of `MODULES`."""
    return PACKAGE / f"{module.replace('.', '/')}.py"


def digest() -> str:
    """Return what names the compiled form of these sources for this interpreter."""
    found = hashlib.sha256(f"{sys.version}{SUFFIX}".encode())
    for module in MODULES:
        found.update(module.encode() + b"\0" + source(module).read_bytes() + b"\0")
    return found.hexdigest()[:32]


def use(root: Path | None = None) -> bool:
    """Let `MODULES` be imported in compiled form from now on; return whether `root` has one of these very sources.

    `root` is `folder()` where it is not given.

    Nothing changes where one of them has been imported already: half of them in one form and half in the other would
    not know each other's classes.
    """
    root = root or folder()
    if not root.is_dir() or any(f"{GROUP}.{module}" in sys.modules for module in MODULES):
        return False
    made = root / digest()
    if made.is_dir():
        sys.meta_path.insert(0, _Finder(made))
        return True
    return False


class _Finder(MetaPathFinder):
    """Finds the compiled modules under a folder, and nothing else."""

    def __init__(self, made: Path) -> None:
        names = [f"{GROUP}__mypyc", *(f"{GROUP}.{module}" for module in MODULES)]
        self._files = {name: made / f"{name.replace('.', '/')}{SUFFIX}" for name in names}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the module is, None for any other one."""
        file = self._files.get(fullname)
        if file is None:
            return None
        return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, str(file)))
