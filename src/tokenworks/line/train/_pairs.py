"""Texts that belong together, mined from documents without labels: headings with what stands below, neighbours."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Iterable, Iterator

import msgspec

from tokenworks.core.document import Document

PER_DOCUMENT = 8  # so that a few long documents do not drown the others
MAX_PAIRS = 40_000
MIN_WORDS, MAX_WORDS = 8, 120  # of a paragraph
HELD_OUT_EVERY = 10  # one document in ten judges, the others teach
_HEADING = re.compile(r"#{1,6}\s+(\S.*?)\s*#*$")
_BLANK = re.compile(r"\n\s*\n")


class Pair(msgspec.Struct, frozen=True, order=True):
    """An anchor, and the text that should be found with it."""

    document: int
    anchor: str
    positive: str
    hard: str = ""  # a text that looks right and is not


class Pairs(msgspec.Struct, frozen=True):
    """Pairs to learn from and pairs of other documents to judge by."""

    learn: list[Pair]
    judge: list[Pair]


def mine(documents: Iterable[Document], seed: int) -> Pairs:
    """Return at most `MAX_PAIRS` pairs, picked by hash: the same documents give the same pairs in any order."""
    chosen = heapq.nsmallest(MAX_PAIRS, _ranked(documents, seed))
    pairs = [pair for _, _, pair in chosen]
    judge = [pair for pair in pairs if pair.document % HELD_OUT_EVERY == 0]
    return Pairs([pair for pair in pairs if pair.document % HELD_OUT_EVERY], judge)


def _ranked(documents: Iterable[Document], seed: int) -> Iterator[tuple[int, int, Pair]]:
    for document in documents:
        number = number_of(document)
        found = {_hash(f"{seed}\0{number}\0{pair.positive}"): pair for pair in document_pairs(document, number)}
        for rank in sorted(found)[:PER_DOCUMENT]:
            yield rank, number, found[rank]


def document_pairs(document: Document, number: int) -> Iterator[Pair]:
    """Yield (title and headings, paragraph) and (paragraph, next paragraph) of one section."""
    heading, before = "", ""
    for block in _BLANK.split(document.text):
        lines = block.strip().splitlines()
        while lines and (match := _HEADING.match(lines[0])):
            heading, before = match[1], ""
            lines.pop(0)
        words = " ".join(lines).split()
        if len(words) < MIN_WORDS:
            continue
        paragraph = " ".join(words[:MAX_WORDS])
        about = ": ".join(dict.fromkeys(part for part in (document.title, heading) if part))
        if about:
            yield Pair(number, about, paragraph)
        if before:
            yield Pair(number, before, paragraph)
        before = paragraph


def number_of(document: Document) -> int:
    """Return the number by which pairs name `document`; divisible by `HELD_OUT_EVERY`, it only judges."""
    return _hash(f"{document.source}\0{document.path}")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7])
