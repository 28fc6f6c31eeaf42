"""What people looked for and which document answered, as pairs of texts. Knows documents, not models.

A document is long and a query short: the passage that a query is pulled towards is the one that the model before
training ranks first within the document (as multiple-instance learning picks its instance).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from tokenworks.core.document import Document
from tokenworks.core.errors import DataError
from tokenworks.line.train._pairs import MAX_WORDS, number_of

PASSAGES = 4  # of a document that may be meant: what it is about is said early
MAX_CLICKS = 20_000  # the newest: more would not be seen even once in a usual budget


class Click(msgspec.Struct, frozen=True):
    """A row of the input."""

    query: str
    document: str  # "source/path", as search returns it


class Clicked(msgspec.Struct, frozen=True, kw_only=True):
    """Distinct clicks on documents of the corpus, and the passages of these documents."""

    queries: list[str]
    documents: list[int]  # number of the document that answered each query
    passages: list[str]
    owners: list[int]  # number of the document of each passage
    rows: int  # of the input
    unknown: int  # rows whose document the corpus lacks


def read_clicks(lines: Iterable[bytes], documents: Iterable[Document]) -> Clicked:
    """Return the clicks of JSON `lines` that `documents` can answer; raise `DataError` naming a row that is none."""
    rows = [click for click in _parse(lines) if click.query.strip()]
    wanted = {click.document for click in rows}
    numbers: dict[str, int] = {}
    passages, owners = list[str](), list[int]()
    for document in documents:
        name = f"{document.source}/{document.path}"
        if name not in wanted:
            continue
        numbers[name] = number_of(document)
        found = list(cut(document))
        passages += found
        owners += [numbers[name]] * len(found)
    filled = set(owners)
    pairs = {
        (" ".join(click.query.split()), numbers[click.document]): None
        for click in rows
        if numbers.get(click.document) in filled
    }
    kept = list(pairs)[-MAX_CLICKS:]
    unknown = sum(click.document not in numbers for click in rows)
    return Clicked(
        queries=[query for query, _ in kept],
        documents=[number for _, number in kept],
        passages=passages,
        owners=owners,
        rows=len(rows),
        unknown=unknown,
    )


def cut(document: Document) -> Iterator[str]:
    """Yield the first `PASSAGES` passages of `document`, its title in front of each."""
    words = document.text.split()
    for start in range(0, min(len(words), PASSAGES * MAX_WORDS), MAX_WORDS):
        yield f"{document.title} {' '.join(words[start : start + MAX_WORDS])}".strip()


def _parse(lines: Iterable[bytes]) -> Iterator[Click]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield msgspec.json.decode(line, type=Click)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise DataError(
                f'clicks line {number}: {error}; a row is {{"query": "...", "document": "source/path"}}'
            ) from error
