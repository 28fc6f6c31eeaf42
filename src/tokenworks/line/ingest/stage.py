"""The first stage of the line: sources -> documents, each read once as long as it does not change."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.ids import canonical_json, content_id
from tokenworks.core.label import Label
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.ingest.assemble import Assembler
from tokenworks.line.ingest.cache import Cache
from tokenworks.line.ingest.collect import Collector
from tokenworks.line.ingest.decode import decode
from tokenworks.line.ingest.examine import load_reader, reader_names
from tokenworks.line.ingest.listing import Listing
from tokenworks.line.ingest.messages import Hello
from tokenworks.line.ingest.params import Dictionary, IngestParams
from tokenworks.line.ingest.walk import walk

VERSION = "2"  # of everything that is done to a text after its reader


def fingerprint(params: IngestParams) -> str:
    """Return a hash of the listing of the sources: names, sizes, times. Equal: nothing has to be read."""
    digest = hashlib.sha256()
    for entry in walk(params.sources, Counter(), params.erased):
        digest.update(
            canonical_json([entry.source, entry.path, entry.size, entry.mtime_ns, entry.licence, entry.reason])
        )
    for dictionary in params.dictionaries:
        digest.update(canonical_json([dictionary.name, _values(dictionary)]))
    return digest.hexdigest()


def ingest(inputs: Mapping[str, str], params: IngestParams, bench: Bench) -> Outputs:
    """Read every file of `params.sources`; `inputs['listing']` is their `fingerprint` and only names the state."""
    started_s = time.monotonic()
    excluded: Counter[str] = Counter()
    shutil.rmtree(bench.scratch / "out", ignore_errors=True)  # of a killed run; its work is in the cache
    (bench.scratch / "out").mkdir(parents=True)
    cache = Cache(bench.cache)
    listing = Listing(bench.scratch / "listing.db")
    try:
        total = listing.fill(walk(params.sources, excluded, params.erased))
        collector = Collector(listing, total, cache, _hello(params, cache), bench.progress)
        collector.run(params.processes or bench.threads)
        labels = {f"dictionary:{each.name}": Label.parse(each.label) for each in params.dictionaries}
        assembler = Assembler(bench.scratch / "out", cache, labels, frozenset(params.erased))
        assembler.tally.cached = collector.cached
        assembler.run(listing)
    finally:
        listing.close()
        cache.close()
    report = assembler.tally.report(time.monotonic() - started_s, excluded)
    return {
        "documents": bench.artifacts.put_folder(assembler.documents),
        "set_aside": bench.artifacts.put_file(assembler.set_aside),
        "provenance": bench.artifacts.put_file(assembler.provenance),
        "report": bench.artifacts.put_bytes(msgspec.json.encode(report)),
    }


INGEST = Stage(name="ingest", version=VERSION, run=ingest)


def _hello(params: IngestParams, cache: Cache) -> Hello:
    terms = {dictionary.name: _values(dictionary) for dictionary in params.dictionaries}
    names = sorted(set(reader_names(params.read_as).values()))
    versions = {name: load_reader(name).VERSION for name in names}
    return Hello(
        limits=params.limits,
        read_as=params.read_as,
        secrets=params.secrets,
        config=content_id([VERSION, versions, params.limits, params.read_as, params.secrets, terms]),
        cache=str(cache.path),
        memory_mb=params.memory_mb,
        terms=terms,
    )


def _values(dictionary: Dictionary) -> list[str]:
    """Return the values of a dictionary file, a line each."""
    path = Path(dictionary.path).expanduser()
    try:
        text, _ = decode(path.read_bytes())
    except OSError as error:
        raise DataError(f"dictionary {dictionary.name!r}: {path}: {error.strerror}; correct its path") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
