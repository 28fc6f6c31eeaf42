"""Where a model version comes from: the recorded inputs of stages, followed back to documents and sources.

Nothing is written by hand for it: a stage result names what went in, and another stage's result made that.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from tokenworks.core.clock import iso
from tokenworks.core.errors import ErasedError, NotFoundError
from tokenworks.core.model import ModelVersion
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import StageResult

_SHORT = 12


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A thing and what it was made from."""

    kind: str  # model | stage | artifact | corpus | source | base
    name: str
    digest: str = ""
    facts: tuple[str, ...] = ()
    children: tuple[Node, ...] = ()


def lineage(version: ModelVersion, *, catalog: Catalog, artifacts: ArtifactStore) -> Node:
    """Return the tree of `version`; a part that is met again is named, and told only once."""
    root = catalog.stages.get(version.stage_key)
    facts = (
        version.kind,
        f"label {version.label}",
        f"licence {version.licence or 'unknown'}",
        f"owner {version.owner}",
    )
    tracer = _Tracer(catalog, artifacts)
    weights = tracer.stage("weights", root) if root else _unrecorded(version)
    judged = catalog.stages.producers(version.evaluation)[:1] if version.evaluation else []
    children = (weights, *(tracer.stage("evaluation", each) for each in judged))
    return Node(kind="model", name=version.ref, digest=version.folder, facts=facts, children=children)


def render(node: Node) -> str:
    """Return the tree as lines for a terminal."""
    return "\n".join(_lines(node, "", ""))


def _lines(node: Node, first: str, rest: str) -> Iterator[str]:
    digest = f" {node.digest[:_SHORT]}" if node.digest else ""
    facts = f"  ({', '.join(node.facts)})" if node.facts else ""
    yield f"{first}{node.name}{digest}{facts}"
    for place, child in enumerate(node.children):
        last = place == len(node.children) - 1
        yield from _lines(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _unrecorded(version: ModelVersion) -> Node:
    return Node(
        kind="base", name=version.base or "made elsewhere", facts=("no stage of this factory made the weights",)
    )


class _Tracer:
    """Follows digests back through stage results."""

    def __init__(self, catalog: Catalog, artifacts: ArtifactStore) -> None:
        self._catalog, self._artifacts = catalog, artifacts
        self._told: set[str] = set()

    def stage(self, role: str, result: StageResult) -> Node:
        """Return the node of `result`, which made something used as `role`."""
        name, digest = f"{role}: {result.stage}", result.key
        if result.key in self._told:
            return Node(kind="stage", name=name, digest=digest, facts=("told above",))
        self._told.add(result.key)
        children = [self.artifact(each, given, result) for each, given in sorted(result.inputs.items())]
        facts = (f"{result.seconds:.1f} s", iso(result.finished_at)) if result.finished_at else ()
        return Node(
            kind="stage",
            name=name,
            digest=digest,
            facts=(*facts, *self._counts(result)),
            children=(*children, *self._sources(result)),
        )

    def artifact(self, role: str, digest: str, user: StageResult) -> Node:
        """Return the node of an input: the stage that made it, or the thing itself where it came from outside."""
        makers = [each for each in self._catalog.stages.producers(digest) if each.key != user.key]
        if makers:
            ours = [each for each in makers if each.task == user.task]
            return self.stage(role, min(ours or makers, key=lambda each: (each.finished_at, each.key)))
        if role == "base":
            return Node(kind="base", name=role, digest=digest, facts=self._size(digest, self._folder_bytes))
        return Node(kind="artifact", name=role, digest=digest, facts=self._size(digest, self._artifacts.size))

    def _folder_bytes(self, digest: str) -> int:
        return sum(size for _, size in self._artifacts.manifest(digest).values())

    def _size(self, digest: str, measure: Callable[[str], int]) -> tuple[str, ...]:
        try:
            return (_amount(measure(digest)),)
        except ErasedError:
            return ("erased on request",)
        except NotFoundError:
            return ()  # such as the fingerprint of a listing: a hash of something that is not kept

    def _counts(self, result: StageResult) -> tuple[str, ...]:
        """Return what a corpus holds, from the manifest that its stage wrote."""
        digest = result.outputs.get("corpus")
        if digest is None:
            return ()
        try:
            files = self._artifacts.manifest(digest)
            if "manifest.json" not in files:
                return ()
            manifest = self._json(self._artifacts.get_bytes(files["manifest.json"][0]))
        except ErasedError:
            return ("erased on request",)
        return (f"{manifest.get('documents', '?')} documents", f"label {manifest.get('label', '?')}")

    def _sources(self, result: StageResult) -> tuple[Node, ...]:
        """Return the sources of an ingest: how many documents each gave, and a hash over their paths and hashes."""
        if "provenance" not in result.outputs:
            return ()
        counts, licences, hashes = Counter[str](), dict[str, Counter[str]](), dict[str, Any]()
        with self._artifacts.open(result.outputs["provenance"]) as file:
            for line in file:
                row = self._json(line)
                counts[row["source"]] += 1
                named = hashes.setdefault(row["source"], hashlib.sha256())
                named.update(f"{row['path']}\0{row['sha256']}\n".encode())
                licences.setdefault(row["source"], Counter())[row.get("licence") or "unknown"] += 1
        places = {each["name"]: each["path"] for each in _params(result).get("sources", ())}
        return tuple(
            Node(
                kind="source",
                name=f"source: {name}",
                digest=hashes[name].hexdigest(),
                facts=(
                    f"{count} documents",
                    "licences " + " ".join(f"{each}:{n}" for each, n in licences[name].most_common(4)),
                    places.get(name, ""),
                ),
            )
            for name, count in sorted(counts.items())
        )

    @staticmethod
    def _json(data: bytes) -> dict[str, Any]:
        return msgspec.json.decode(data, type=dict[str, Any])


def _params(result: StageResult) -> dict[str, Any]:
    """Return the parameters as a table, whether they come from the catalog or straight from a run."""
    table = msgspec.to_builtins(result.params)
    return table if isinstance(table, dict) else {}


def _amount(size: int) -> str:
    """Return `size` bytes as people say it."""
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
