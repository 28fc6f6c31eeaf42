"""Corpus -> train and held-out, by document: which side is decided by its path alone, so it never changes sides."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from tokenworks.core.corpus import read_parts, write_parts
from tokenworks.core.document import Document
from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.ids import canonical_json
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.curate.report import MANIFEST, CorpusTally


class SplitParams(msgspec.Struct, frozen=True, kw_only=True):
    """How much is held out."""

    held_out: float = 0.05  # share of documents
    seed: int = 0


def split(inputs: Mapping[str, str], params: SplitParams, bench: Bench) -> Outputs:
    """Write both sides; each has at least one document. Raises `DataError` where there are fewer than two."""
    if not 0 < params.held_out < 1:
        raise ConfigError(f"held_out is {params.held_out}; it must lie between 0 and 1")
    corpus = bench.artifacts.folder(inputs["corpus"])
    out = bench.scratch / "out"
    shutil.rmtree(out, ignore_errors=True)
    threshold = _threshold(corpus, params)
    for name, side in (("train", False), ("held_out", True)):
        tally = CorpusTally()
        write_parts(out / name, map(tally.add, _side(corpus, params, threshold, side)))
        (out / name / MANIFEST).write_bytes(canonical_json(tally.manifest()))
    return {name: bench.artifacts.put_folder(out / name) for name in ("train", "held_out")}


SPLIT = Stage(name="split", version="1", run=split)


def _side(corpus: Path, params: SplitParams, threshold: float, side: bool) -> Iterator[Document]:
    for document in read_parts(corpus):
        if (position(document, params.seed) < threshold) is side:
            yield document


def position(document: Document, seed: int) -> float:
    """Return where in [0, 1) a document lies, by its source and path."""
    digest = hashlib.sha256(f"{seed}\0{document.source}\0{document.path}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _threshold(corpus: Path, params: SplitParams) -> float:
    """Return the position below which documents are held out; moved from the share where a side would be empty."""
    count, least, second, greatest = 0, 1.0, 1.0, 0.0
    for document in read_parts(corpus):
        here = position(document, params.seed)
        least, second = sorted((least, second, here))[:2]
        greatest = max(greatest, here)
        count += 1
    if count < 2:
        raise DataError(f"a corpus of {count} documents cannot be split; add documents to the sources")
    if least >= params.held_out:
        return second
    return greatest if greatest < params.held_out else params.held_out
