from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tokenworks.core.ids import sha256_hex
from tokenworks.core.stage import Stage
from tokenworks.line.ingest.params import IngestParams, Source
from tokenworks.line.release.lineage import Node, lineage, render
from tokenworks.line.run import Runner, stage_key

NO_PARAMS: dict[str, int] = {}


def _ingest(inputs, params, bench):
    rows = [
        {"path": f"{n}.md", "source": "handbook" if n < 3 else "tickets", "licence": "MIT" if n else "", "sha256": "0"}
        for n in range(5)
    ]
    provenance = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return {"documents": _blob(bench, "documents"), "provenance": bench.artifacts.put_bytes(provenance)}


def _curate(inputs, params, bench):
    folder = bench.scratch / "corpus"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"documents": 4, "label": "confidential"}))
    return {"corpus": bench.artifacts.put_folder(folder)}


def _split(inputs, params, bench):
    return {"train": _blob(bench, "train"), "held_out": _blob(bench, "held out")}


def _plan(inputs, params, bench):
    return {"plan": _blob(bench, "plan")}


def _train(inputs, params, bench):
    return {"model": _blob(bench, "model"), "log": _blob(bench, "log")}


def _evaluate(inputs, params, bench):
    return {"evaluation": _blob(bench, "evaluation")}


def _blob(bench, text: str) -> str:
    return bench.artifacts.put_bytes(text.encode())


def _base(folder: Path) -> Path:
    folder.mkdir()
    (folder / "weights").write_bytes(b"x" * 3000)
    return folder


@pytest.fixture
def trained(shop) -> str:
    """Run a whole line of small stages; return the key of the training stage."""
    runner = Runner(shop.catalog, shop.artifacts, shop.ledger, shop.home)

    def run(name, function, inputs, params=NO_PARAMS):
        return runner.run(Stage(name, "1", function), inputs, params, task="complete")

    sources = (Source(name="handbook", path="/srv/handbook"), Source(name="tickets", path="/srv/tickets.csv"))
    read = run("ingest", _ingest, {"listing": "f" * 64}, IngestParams(sources=sources))
    corpus = run("curate", _curate, {"documents": read["documents"]})
    parts = run("split", _split, corpus)
    both = {"train": parts["train"], "held_out": parts["held_out"]}
    base = shop.artifacts.put_folder(_base(shop.home / "base"))
    plan = run("plan", _plan, {**both, "base": base})
    inputs = {**both, **plan, "base": base}
    made = run("train", _train, inputs)
    run("evaluate", _evaluate, {"model": made["model"], "held_out": parts["held_out"]})
    return stage_key(Stage("train", "1", _train), inputs, NO_PARAMS)


@pytest.fixture
def tree(shop, trained: str) -> Node:
    judged = sha256_hex(b"evaluation")
    version = msgspec.structs.replace(shop.version(1), stage_key=trained, version=7, evaluation=judged)
    return lineage(version, catalog=shop.catalog, artifacts=shop.artifacts)


def _find(node: Node, name: str) -> list[Node]:
    return [*([node] if node.name == name else []), *(each for child in node.children for each in _find(child, name))]


def test_the_tree_goes_from_the_model_back_to_every_source_with_its_counts(tree: Node):
    assert (tree.kind, tree.name) == ("model", "route@7")
    (handbook,), (tickets,) = _find(tree, "source: handbook"), _find(tree, "source: tickets")
    assert handbook.facts == ("3 documents", "licences MIT:2 unknown:1", "/srv/handbook")
    assert tickets.facts[0] == "2 documents"


def test_a_corpus_says_how_many_documents_it_holds_and_its_label(tree: Node):
    (curate,) = [node for node in _find(tree, "corpus: curate") if node.children]
    assert "4 documents" in curate.facts
    assert "label confidential" in curate.facts


def test_a_part_that_is_met_again_is_told_only_once(tree: Node):
    split = [*_find(tree, "held_out: split"), *_find(tree, "train: split")]
    assert len(split) == 5  # twice for training, twice for its plan, once for judging
    assert [bool(node.children) for node in split].count(True) == 1
    assert all(node.facts == ("told above",) for node in split if not node.children)
    assert len(_find(tree, "source: handbook")) == 1


def test_the_hash_of_a_source_covers_the_path_and_hash_of_each_document(tree: Node):
    (handbook,) = _find(tree, "source: handbook")
    assert handbook.digest == sha256_hex(b"".join(b"%d.md\x000\n" % n for n in range(3)))


def test_the_evaluation_leads_back_to_what_it_was_measured_on(tree: Node):
    (judged,) = _find(tree, "evaluation: evaluate")
    assert [child.name for child in judged.children] == ["held_out: split", "model: train"]


def test_what_comes_from_outside_is_a_leaf_with_its_size(tree: Node):
    base = _find(tree, "base")
    assert {node.kind for node in base} == {"base"}
    assert base[0].facts == ("2.9 kB",)
    (listing,) = _find(tree, "listing")
    assert listing.facts == ()  # a fingerprint: there are no bytes of it


def test_the_text_for_a_terminal_shows_the_same_tree(tree: Node):
    lines = render(tree).splitlines()
    assert lines[0].startswith(f"route@7 {tree.digest[:12]}  (classify, label internal, licence MIT")
    assert lines[1].startswith("├─ weights: train ")
    assert any(line.startswith("└─ evaluation: evaluate ") for line in lines)
    assert sum("source: " in line for line in lines) == 2
    assert len(lines) == _count(tree)


def _count(node: Node) -> int:
    return 1 + sum(_count(child) for child in node.children)


def test_a_model_that_was_made_elsewhere_says_so(shop):
    version = shop.version(1)
    text = render(lineage(version, catalog=shop.catalog, artifacts=shop.artifacts))
    assert text.splitlines()[1] == "└─ minilm  (no stage of this factory made the weights)"


def test_the_tree_becomes_json_for_machines(tree: Node):
    again = msgspec.json.decode(msgspec.json.encode(tree), type=Node)
    assert again == tree


def test_lost_artifacts_do_not_break_the_tree(shop, trained: str, tree: Node):
    for path in Path(shop.home / "artifacts").rglob("*"):
        if path.is_file() and b'{"weights":' in path.read_bytes():
            path.chmod(0o600)
            path.unlink()
    version = msgspec.structs.replace(shop.version(2), stage_key=trained)
    after = lineage(version, catalog=shop.catalog, artifacts=shop.artifacts)
    assert _find(after, "base")[0].facts == ()
