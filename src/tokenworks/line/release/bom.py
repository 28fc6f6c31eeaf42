"""A bill of materials for a model: CycloneDX 1.6 JSON with a model card, the data it learnt from, and its figures.

Pure: facts in, bytes out; equal facts give equal bytes (no time, no random serial number).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from tokenworks.core.ids import canonical_json, content_id
from tokenworks.core.version import __version__

BOM = "bom.cdx.json"
_ADDRESS = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/tokenworks")
# SPDX ids that the schema's own list knows and that models and documents carry; others are written by name.
_SPDX = frozenset(
    [
        *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense"),
        *("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-3.0", "CC-BY-SA-3.0"),
        *("GPL-2.0-only", "GPL-3.0-only", "LGPL-3.0-only", "AGPL-3.0-only", "ODC-By-1.0", "ODbL-1.0"),
        "CDLA-Permissive-2.0",
    ]
)
_TASKS = {
    "classify": ("supervised", "text-classification", "text", "label"),
    "extract": ("supervised", "information-extraction", "text", "json"),
    "embed": ("self-supervised", "sentence-embedding", "text", "vector"),
    "complete": ("self-supervised", "text-generation", "text", "text"),
    "chat": ("supervised", "text-generation", "messages", "text"),
}


class DatasetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the model learnt from."""

    name: str
    digest: str  # SHA-256 of the artifact
    label: str
    licences: tuple[str, ...] = ()
    documents: int = 0
    bytes: int = 0
    description: str = ""


class FigureFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A measured figure with its 95 % interval and the number of items behind it."""

    name: str
    value: float
    low: float
    high: float
    n: int
    slice: str = ""  # the part of the gold set, empty for all of it
    method: str = ""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the bill of materials says of a model version."""

    model: str
    kind: str  # classify | extract | embed | complete | chat
    label: str
    licence: str
    owner: str
    stage_key: str  # identity of the training stage: the root of the lineage
    base: str = ""  # "from-scratch" or a name
    base_digest: str = ""
    base_licence: str = ""
    parameters: int = 0
    architecture: str = ""  # of config.json
    method: str = ""  # head | full | lora | pretrain
    description: str = ""
    limitations: tuple[str, ...] = ()
    datasets: tuple[DatasetFacts, ...] = ()
    figures: tuple[FigureFacts, ...] = ()
    evaluation: str = ""  # digest of the evaluation report


def bill_of_materials(facts: ModelFacts, files: Mapping[str, str]) -> bytes:
    """Return the CycloneDX 1.6 document for `facts`; `files` maps relative path -> SHA-256."""
    datasets = [_dataset(each) for each in facts.datasets]
    base = [_base(facts)] if facts.base and facts.base != "from-scratch" else []
    ref = f"model:{facts.model}"
    depends = [each["bom-ref"] for each in (*base, *datasets)]
    document: dict[str, Any] = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, content_id([facts, dict(files)]))}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "tokenworks", "version": __version__}]},
            "component": _model(facts, files, ref),
        },
        "components": [*base, *datasets],
        "dependencies": [{"ref": ref, "dependsOn": depends}, *({"ref": each} for each in depends)],
    }
    return canonical_json(document)


def _model(facts: ModelFacts, files: Mapping[str, str], ref: str) -> dict[str, Any]:
    component = {
        "bom-ref": ref,
        "type": "machine-learning-model",
        "name": facts.model,
        "description": facts.description,
        "authors": [_person(facts.owner)] if facts.owner else [],
        "licenses": _licences([facts.licence]),
        "modelCard": _card(facts),
        "components": [
            {"bom-ref": f"file:{path}", "type": "file", "name": path, "hashes": _hash(digest)}
            for path, digest in sorted(files.items())
        ],
        "properties": _properties(
            {
                "label": facts.label,
                "parameters": facts.parameters,
                "method": facts.method,
                "stage_key": facts.stage_key,
                "evaluation": facts.evaluation,
                "base": facts.base,
            }
        ),
    }
    return _without_empty(component)


def _card(facts: ModelFacts) -> dict[str, Any]:
    approach, task, taken, given = _TASKS.get(facts.kind, ("supervised", facts.kind, "text", "text"))
    parameters = {
        "approach": {"type": approach},
        "task": task,
        "modelArchitecture": facts.architecture,
        "datasets": [{"ref": _ref(each)} for each in facts.datasets],
        "inputs": [{"format": taken}],
        "outputs": [{"format": given}],
    }
    card = {
        "modelParameters": _without_empty(parameters),
        "quantitativeAnalysis": _without_empty({"performanceMetrics": [_figure(each) for each in facts.figures]}),
        "considerations": _without_empty({"technicalLimitations": list(facts.limitations)}),
    }
    return _without_empty(card)


def _figure(figure: FigureFacts) -> dict[str, Any]:
    return _without_empty(
        {
            "type": f"{figure.name} (n={figure.n})",
            "value": f"{figure.value:.6g}",
            "slice": figure.slice,
            "confidenceInterval": {"lowerBound": f"{figure.low:.6g}", "upperBound": f"{figure.high:.6g}"},
        }
    )


def _dataset(facts: DatasetFacts) -> dict[str, Any]:
    data = {"type": "dataset", "name": facts.name, "classification": facts.label, "description": facts.description}
    component = {
        "bom-ref": _ref(facts),
        "type": "data",
        "name": facts.name,
        "hashes": _hash(facts.digest),
        "licenses": _licences(facts.licences),
        "data": [_without_empty(data)],
        "properties": _properties({"label": facts.label, "documents": facts.documents, "bytes": facts.bytes}),
    }
    return _without_empty(component)


def _base(facts: ModelFacts) -> dict[str, Any]:
    component = {
        "bom-ref": f"base:{facts.base}",
        "type": "machine-learning-model",
        "name": facts.base,
        "hashes": _hash(facts.base_digest),
        "licenses": _licences([facts.base_licence]),
    }
    return _without_empty(component)


def _ref(facts: DatasetFacts) -> str:
    return f"data:{facts.name}:{facts.digest[:16]}"


def _hash(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}] if digest else []


def _licences(names: tuple[str, ...] | list[str]) -> list[dict[str, Any]]:
    known = [name for name in dict.fromkeys(names) if name]
    return [{"license": {"id": name} if name in _SPDX else {"name": name}} for name in known]


def _person(owner: str) -> dict[str, str]:
    address = owner.removeprefix("mailto:")
    return {"name": address, "email": address} if _ADDRESS.fullmatch(address) else {"name": address}


def _properties(facts: Mapping[str, str | int]) -> list[dict[str, str]]:
    return [{"name": f"tokenworks:{name}", "value": str(value)} for name, value in sorted(facts.items()) if value]


def _without_empty(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value not in ("", [], {}, None)}
