"""Markdown with front matter: `title`, `label` and `licence` are taken from it, the body is the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from tokenworks.line.ingest.decode import decode
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.readers.text import pieces
from tokenworks.line.ingest.reading import RawDocument

SUFFIXES = (".md", ".markdown", ".mdx", ".mkd", ".qmd")
MEDIA_TYPE = "text/markdown"
VERSION = "1"
_FRONT = re.compile(r"\A\s*(---|\+\+\+)[ \t]*\r?\n(.{0,20000}?)^\1[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_KEY = re.compile(r"""^(title|label|licen[cs]e)[ \t]*[:=][ \t]*(["']?)(.*?)\2[ \t]*(?:\s#.*)?\r?$""", re.M | re.I)
_HEADING = re.compile(r"^#{1,2}[ \t]+(.+?)[ \t#]*$", re.M)


def read(stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument]:
    """Yield the body with its title, label and licence; huge files in pieces that share them."""
    facts: dict[str, str] = {}
    for part, data in pieces(stream, limits):
        text, encoding = decode(data)
        if part in ("", "#1"):
            facts, text = front_matter(text)
        yield RawDocument(
            text=text,
            part=part,
            title=facts.get("title", "") or _first_heading(text),
            label=facts.get("label", ""),
            licence=facts.get("licence", ""),
            encoding=encoding,
        )


def front_matter(text: str) -> tuple[dict[str, str], str]:
    """Return the known keys of YAML or TOML front matter, and the text below it."""
    found = _FRONT.match(text)
    if not found:
        return {}, text
    facts = {key.lower().replace("license", "licence"): value for key, _, value in _KEY.findall(found[2])}
    return facts, text[found.end() :]


def _first_heading(text: str) -> str:
    found = _HEADING.search(text, 0, 2000)
    return found[1] if found else ""
