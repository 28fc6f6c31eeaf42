"""Compile the hot path with mypyc, in a folder of its own; whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tokenworks.core.compiled import GROUP, MODULES, PACKAGE, digest
from tokenworks.core.errors import ConfigError, MissingExtraError
from tokenworks.core.files import locked

# Other packages count as unknown to the types: nothing of theirs is compiled, and reading them all takes minutes.
_CONFIG = "[mypy]\nno_site_packages = True\nignore_missing_imports = True\nfollow_imports = silent\n"
_SETUP = """
from mypyc.build import mypycify
from setuptools import setup
setup(name={group!r}, ext_modules=mypycify({options!r}, opt_level="3", group_name={group!r}))
"""


def make(root: Path) -> tuple[Path, bool]:
    """Return the folder under `root` of the compiled form of these sources, and whether it was made now.

    Raises `MissingExtraError` without mypy, `ConfigError` where there is no C compiler or it fails.
    """
    made = root / digest()
    if made.is_dir():
        return made, False
    if find_spec("mypyc") is None or find_spec("setuptools") is None:
        raise MissingExtraError("compiling the request path", "compile")
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        raise ConfigError("no C compiler was found; install gcc or clang, or go on without: nothing else needs one")
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / "lock"):
        if made.is_dir():  # by somebody else, meanwhile
            return made, False
        with tempfile.TemporaryDirectory(dir=root, prefix="making-") as work:
            os.rename(_built(Path(work)), made)
        for old in root.iterdir():  # of other sources; who runs them has them open
            if old.is_dir() and old != made:
                shutil.rmtree(old, ignore_errors=True)
    return made, True


def remove(root: Path) -> bool:
    """Remove every compiled form under `root`; return whether there was one."""
    there = root.is_dir()
    shutil.rmtree(root, ignore_errors=True)
    return there


def _built(work: Path) -> Path:
    """Return the folder with the library and the modules, built under `work`."""
    shutil.copytree(PACKAGE, work / GROUP, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    config = work / "mypy.ini"
    config.write_text(_CONFIG)
    files = [f"{GROUP}/{module.replace('.', '/')}.py" for module in MODULES]
    (work / "setup.py").write_text(_SETUP.format(group=GROUP, options=["--config-file", str(config), *files]))
    words = [sys.executable, "-E", "setup.py", "-q", "build_ext", "--build-lib", "made"]
    done = subprocess.run(words, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        headers = Path(sysconfig.get_path("include")) / "Python.h"
        hint = "" if headers.exists() else f"; Python's headers are missing ({headers}): install python3-dev"
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise ConfigError(f"the request path could not be compiled{hint}:\n{last}")
    return work / "made"
