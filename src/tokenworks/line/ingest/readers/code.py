"""Source code and configuration, kept as written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from tokenworks.line.ingest.decode import decode
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.readers.text import pieces
from tokenworks.line.ingest.reading import RawDocument

MEDIA_TYPE = "text/x-source"
VERSION = "1"
_LANGUAGES = {
    "python": ".py .pyi .pyw",
    "c": ".c .h",
    "c++": ".cc .cpp .cxx .hpp .hh",
    "c#": ".cs",
    "java": ".java",
    "kotlin": ".kt .kts",
    "scala": ".scala",
    "go": ".go",
    "rust": ".rs",
    "swift": ".swift",
    "javascript": ".js .mjs .cjs .jsx",
    "typescript": ".ts .tsx",
    "ruby": ".rb",
    "erb": ".erb",
    "php": ".php",
    "perl": ".pl .pm",
    "lua": ".lua",
    "r": ".r",
    "julia": ".jl",
    "haskell": ".hs",
    "sql": ".sql",
    "shell": ".sh .bash .zsh .fish",
    "powershell": ".ps1",
    "css": ".css .scss .less",
    "terraform": ".tf .hcl",
    "proto": ".proto",
    "yaml": ".yaml .yml",
    "toml": ".toml",
    "ini": ".ini .cfg .conf .properties .env",
    "json": ".json",
    "xml": ".xml .nxml .xsd .xsl",
    "make": ".mk .cmake",
}
_LANGUAGE_OF = {suffix: name for name, suffixes in _LANGUAGES.items() for suffix in suffixes.split()}
SUFFIXES = tuple(_LANGUAGE_OF)


def read(stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument]:
    """Yield the source as one text, huge ones in pieces."""
    name = PurePosixPath(path).name
    media_type = f"text/x-{_LANGUAGE_OF.get(PurePosixPath(path).suffix.lower(), 'source')}"
    for part, data in pieces(stream, limits):
        text, encoding = decode(data)
        yield RawDocument(text=text, part=part, title=name, encoding=encoding, media_type=media_type)
