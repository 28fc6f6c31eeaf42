"""What an ingest run is told: where documents are, how far a reader may go, what to look for."""

from __future__ import annotations

from typing import Literal

import msgspec

DEFAULT_EXCLUDE = (".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv")


class LabelRule(msgspec.Struct, frozen=True, kw_only=True):
    """Documents below a folder carry at least this label."""

    glob: str  # against the path relative to the source; without '/', against any one component
    label: str


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A folder, a single file or a zip archive that documents come from."""

    name: str
    path: str
    label: str = ""  # empty: nothing is stated, `internal` unless the document says something
    licence: str = ""  # SPDX id; empty: taken from SPDX headers and LICENSE files
    rules: tuple[LabelRule, ...] = ()
    include: tuple[str, ...] = ()  # empty: everything
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE


class Dictionary(msgspec.Struct, frozen=True, kw_only=True):
    """Exact values that must be recognised: customer numbers, project names. One value a line, UTF-8."""

    name: str  # found as `dictionary:NAME`
    path: str
    label: str = "confidential"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one file may ask for."""

    file_bytes: int = 64 << 20  # largest file that a reader may hold whole
    document_bytes: int = 4 << 20  # longer texts are split at line ends
    line_bytes: int = 2 << 20  # a longer line is no text
    archive_bytes: int = 2 << 30  # all members of an archive together, unpacked
    archive_ratio: float = 200.0  # unpacked : packed, per member
    archive_depth: int = 3
    archive_members: int = 100_000
    pages: int = 10_000
    timeout_s: float = 60.0  # silence of a worker on one file


class IngestParams(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the ingest stage depends on, besides the listing of the sources."""

    sources: tuple[Source, ...]
    processes: int = 0  # 0: as many as the bench has threads
    memory_mb: int = 1024  # bound of one worker process
    secrets: Literal["mask", "keep"] = "mask"  # what happens to the secret itself in the text
    dictionaries: tuple[Dictionary, ...] = ()
    read_as: dict[str, str] = {}  # suffix -> reader, on top of what the readers claim
    limits: Limits = Limits()
    erased: tuple[str, ...] = ()  # "source/path" of documents that must not be read again; of a member, "zip!/member"
