"""What was made of what, forwards: from texts to datasets to models. The other way round is `release/lineage.py`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec

from tokenworks.core.document import part_of
from tokenworks.core.errors import NotFoundError, StoreError
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.nouns import StageResult

# Outputs that hold figures, names or weights: no text that anybody wrote.
WITHOUT_TEXT = frozenset(
    {"report", "evaluation", "provenance", "set_aside", "plan", "log", "model", "adapter", "metrics", "verdict"}
)
MODELS = frozenset({"model", "adapter"})
SELECT = "select"  # its rows name their requests, so what it passes on is looked up there and not inferred
_ID = re.compile(rb'"(?:request_id|request|preferred_over)"\s*:\s*"([^"]+)"')
_CHUNK = 1 << 20
_MOST_OVERLAP = 256  # bytes that an id and its key may take


class Origin(msgspec.Struct, frozen=True):
    """Where a document came from, as ingest wrote it down."""

    path: str
    source: str
    file: str = ""


_origin = msgspec.json.Decoder(Origin).decode


def naming(results: Iterable[StageResult], artifacts: ArtifactStore, ids: Collection[bytes]) -> set[str]:
    """Return what selections were made of and gave, in which a request of `ids` is named."""
    wanted, found = frozenset(ids), set[str]()
    for digest in selected(results):
        if artifacts.has(digest) and not wanted.isdisjoint(_ids(artifacts, digest)):
            found.add(digest)
    return found


def selected(results: Iterable[StageResult]) -> set[str]:
    """Return the artifacts with texts that selections were made of, and gave."""
    selections = [one for one in results if one.stage == SELECT]
    made_of = {one.inputs["signals"] for one in selections if "signals" in one.inputs}
    return made_of | {digest for one in selections for digest in _text_outputs(one)}


def reading(
    results: Iterable[StageResult], artifacts: ArtifactStore, source: str, path: str
) -> tuple[set[str], set[Origin]]:
    """Return the artifacts with the texts of every ingest that read the document, and the files it was read from."""
    texts, files = set[str](), set[Origin]()
    for one in results:
        if one.stage != "ingest" or not artifacts.has(one.outputs["provenance"]):
            continue
        with artifacts.open(one.outputs["provenance"]) as lines:
            origins = {each for each in map(_origin, lines) if each.source == source and part_of(each.path, path)}
        if origins:
            files |= origins
            texts.add(one.outputs["documents"])
    return texts, files


def texts_made_of(results: Iterable[StageResult], roots: Collection[str]) -> set[str]:
    """Return `roots` and every artifact with texts that stages made of them.

    What a stage that saw none of them made as well, byte for byte, holds nothing of them: it is left out.
    """
    known = list(results)
    suspected = _follow(known, roots, _text_outputs)
    stages = {one.key for one in known if not suspected.isdisjoint(one.inputs.values())}
    innocent = (one for one in known if one.key not in stages or one.stage == SELECT)
    clean = {digest for one in innocent for digest in one.outputs.values()} - set(roots)
    return _follow(known, roots, lambda one: (digest for digest in _text_outputs(one) if digest not in clean))


def learned_from(results: Iterable[StageResult], texts: Collection[str]) -> set[str]:
    """Return the keys of the stages that learned from `texts`, also by way of a model that had."""
    known, gone = list(results), set(texts)
    pupils = [one for one in known if not gone.isdisjoint(_learned(one))]
    models = {digest for one in pupils for name, digest in one.outputs.items() if name in MODELS}
    reached = gone | _follow(known, models, lambda one: one.outputs.values())
    return {one.key for one in known if not reached.isdisjoint(_learned(one))}


def files_of(artifacts: ArtifactStore, digest: str) -> set[str]:
    """Return the digests of the files in the folder `digest`; none where it is no folder, or is gone."""
    try:
        return {content for content, _ in artifacts.manifest(digest).values()}
    except (NotFoundError, StoreError):
        return set()


def _follow(
    results: list[StageResult], roots: Collection[str], made: Callable[[StageResult], Iterable[str]]
) -> set[str]:
    users: dict[str, list[StageResult]] = defaultdict(list)
    for one in results:
        for digest in _learned(one):
            users[digest].append(one)
    reached, waiting = set(roots), list(roots)
    while waiting:
        for one in users[waiting.pop()]:
            new = set(made(one)) - reached
            reached |= new
            waiting += new
    return reached


def _learned(one: StageResult) -> Iterator[str]:
    return iter(() if one.stage == SELECT else one.inputs.values())


def _text_outputs(one: StageResult) -> Iterator[str]:
    return (digest for name, digest in one.outputs.items() if name not in WITHOUT_TEXT)


def _ids(artifacts: ArtifactStore, digest: str) -> set[bytes]:
    """Return the ids of requests that the JSON lines name."""
    found, rest = set[bytes](), b""
    with artifacts.open(digest) as file:
        while chunk := file.read(_CHUNK):
            found.update(_ID.findall(rest + chunk))
            rest = chunk[-_MOST_OVERLAP:]
    return found
