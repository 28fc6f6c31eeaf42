"""Documents to passages: cut at headings and sentence ends, a little overlap, each short enough for an encoder."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from tokenworks.core.document import Document

MAX_COST = 200  # estimated tokens of a passage; the encoder takes 512, and 256 is where it was trained
OVERLAP_COST = 40
_HEADING = re.compile(r"(#{1,6})\s+(\S.*?)\s*#*\s*$")
_SENTENCE_END = re.compile(r"(?<=[.!?:;。！？])\s+|\n")
_FENCE = re.compile(r"\s*(```|~~~)")
_WORD = re.compile(r"\S+")
_LETTERS_PER_TOKEN = 5
_LONGEST_WORD = 100  # a WordPiece tokenizer makes one unknown token of anything longer


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a document: `text` is `document.text[start:end]`."""

    title: str
    heading: str  # the headings above it, joined with ' > '
    text: str
    start: int
    end: int

    @property
    def with_context(self) -> str:
        """Return the text with title and heading in front, as it is embedded."""
        return embedding_text(self.title, self.heading, self.text)


class _Unit(msgspec.Struct, frozen=True):
    """A sentence or line that is not cut further."""

    start: int
    end: int
    cost: int
    heading: str


def embedding_text(title: str, heading: str, text: str) -> str:
    """Return what of a passage is embedded: the words around it often say what it is about."""
    about = " > ".join(part for part in (title, heading) if part)
    return f"{about[:200]}\n{text}" if about else text


def passages(document: Document, *, max_cost: int = MAX_COST, overlap: int = OVERLAP_COST) -> list[Passage]:
    """Return the passages of `document` in order; every character that is no white space lies in at least one."""
    found: list[Passage] = []
    held: list[_Unit] = []
    for unit in _units(document.text, max_cost):
        full = sum(kept.cost for kept in held) + unit.cost > max_cost
        if held and (full or unit.heading != held[-1].heading):
            found.append(_passage(document, held))
            held = _tail(held, min(overlap, max_cost - unit.cost)) if unit.heading == held[-1].heading else []
        held.append(unit)
    if held:
        found.append(_passage(document, held))
    return found


def _passage(document: Document, units: list[_Unit]) -> Passage:
    start, end = units[0].start, units[-1].end
    text = document.text[start:end]
    return Passage(title=document.title, heading=units[-1].heading, text=text, start=start, end=end)


def _tail(units: list[_Unit], budget: int) -> list[_Unit]:
    """Return the last units that fit into `budget`, never all of them."""
    kept: list[_Unit] = []
    for unit in reversed(units[1:]):
        budget -= unit.cost
        if budget < 0:
            break
        kept.insert(0, unit)
    return kept


def _units(text: str, max_cost: int) -> Iterator[_Unit]:
    """Yield sentences and lines with the headings above them; a heading line belongs to what follows it."""
    headings: list[tuple[int, str]] = []
    fenced = False
    start = 0
    for line in text.splitlines(keepends=True):
        end = start + len(line)
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _HEADING.match(line)
        if heading:
            level = len(heading[1])
            headings = [(above, name) for above, name in headings if above < level] + [(level, heading[2])]
        path = " > ".join(name for _, name in headings)
        for begin, stop in _sentences(text, start, end):
            yield from _split(text, begin, stop, path, max_cost)
        start = end


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for gap in _SENTENCE_END.finditer(text, start, end):
        if text[begin : gap.start()].strip():
            yield begin, gap.start()
        begin = gap.end()
    if text[begin:end].strip():
        yield begin, end


def _split(text: str, start: int, end: int, heading: str, max_cost: int) -> Iterator[_Unit]:
    """Yield the sentence whole, or in pieces where it alone is longer than a passage may be."""
    begin, stop, total = start, start, 0
    for word in _words(text, start, end, max_cost):
        if total and total + word.cost > max_cost:
            yield _Unit(begin, stop, total, heading)
            begin, total = word.start, 0
        stop, total = word.end, total + word.cost
    if total:
        yield _Unit(begin, stop, total, heading)


def _words(text: str, start: int, end: int, max_cost: int) -> Iterator[_Unit]:
    """Yield words with their cost; a word that alone is too dear (text without spaces) in pieces."""
    for match in _WORD.finditer(text, start, end):
        cost = word_cost(match[0])
        if cost <= max_cost and len(match[0]) <= 20 * max_cost:
            yield _Unit(match.start(), match.end(), cost, "")
            continue
        for begin in range(match.start(), match.end(), max_cost):
            stop = min(begin + max_cost, match.end())
            yield _Unit(begin, stop, min(max_cost, word_cost(text[begin:stop])), "")


def word_cost(word: str) -> int:
    """Return about how many tokens `word` has, rather too many: letters come in groups, all else one by one."""
    if word.isascii() and word.isalpha():  # most words, and 5 times as fast
        return 1 if len(word) > _LONGEST_WORD else -(-len(word) // _LETTERS_PER_TOKEN)
    letters = sum(character.isascii() and character.isalpha() for character in word)
    return -(-letters // _LETTERS_PER_TOKEN) + len(word) - letters
