from __future__ import annotations

import random

import msgspec
import pytest

from tokenworks.core.corpus import read_parts, write_parts
from tokenworks.core.document import Document, SetAside
from tokenworks.core.errors import DataError
from tokenworks.core.stage import Bench
from tokenworks.line.curate.report import CurateReport, read_manifest
from tokenworks.line.curate.split import SPLIT, SplitParams
from tokenworks.line.curate.stage import CURATE, CurateParams
from tokenworks.store.artifacts import ArtifactStore

WORDS = "river stone cloud engine paper garden window silver metal forest letter music".split()  # noqa: SIM905


def text_of(seed: int, count: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def document(path: str, text: str, **fields: object) -> Document:
    facts = {"source": "docs", "sha256": "0" * 64, "media_type": "text/plain", "language": "en"} | fields
    return Document(path=path, text=text, **facts)


@pytest.fixture
def store(bench: Bench) -> ArtifactStore:
    return bench.artifacts


class Curated:
    """A run of the stage over documents given, and its products decoded."""

    def __init__(self, bench: Bench, store: ArtifactStore, documents: list[Document], params: CurateParams) -> None:
        folder = bench.scratch.parent / "in"
        write_parts(folder, documents)
        before = SetAside(path="bad.pdf", source="docs", reason="damaged")
        inputs = {
            "documents": store.put_folder(folder),
            "set_aside": store.put_bytes(msgspec.json.encode(before) + b"\n"),
        }
        self.outputs = dict(CURATE.run(inputs, params, bench))
        self.corpus = store.folder(self.outputs["corpus"])
        self.documents = list(read_parts(self.corpus))
        self.paths = [document.path for document in self.documents]
        self.manifest = read_manifest(self.corpus)
        self.report = msgspec.json.decode(store.get_bytes(self.outputs["report"]), type=CurateReport)
        lines = store.get_bytes(self.outputs["set_aside"]).splitlines()
        self.set_aside = [msgspec.json.decode(line, type=SetAside) for line in lines]


def test_the_first_of_equal_texts_stays(bench, store):
    got = Curated(bench, store, [document("a", text_of(1)), document("b", text_of(1))], CurateParams())
    assert got.paths == ["a"]
    assert [(aside.path, aside.reason) for aside in got.set_aside] == [("bad.pdf", "damaged"), ("b", "duplicate")]
    assert "docs:a" in got.set_aside[1].detail


def test_a_text_with_one_changed_word_is_a_near_copy_and_another_text_is_not(bench, store):
    changed = text_of(1).split()
    changed[100] = "different"
    documents = [document("a", text_of(1)), document("b", " ".join(changed)), document("c", text_of(2))]
    got = Curated(bench, store, documents, CurateParams())
    assert got.paths == ["a", "c"]
    assert got.report.set_aside == {"near-duplicate": 1}


def test_near_copies_stay_where_only_exact_ones_are_to_go(bench, store):
    documents = [document("a", text_of(1)), document("b", text_of(1) + " and more")]
    assert Curated(bench, store, documents, CurateParams(near_duplicate=0)).paths == ["a", "b"]


def test_the_kept_copy_takes_the_highest_label_of_all(bench, store):
    documents = [document("a", text_of(1), label="public"), document("b", text_of(1), label="restricted")]
    got = Curated(bench, store, documents, CurateParams())
    assert [(each.path, each.label) for each in got.documents] == [("a", "restricted")]
    assert got.manifest.label == "restricted"
    assert got.report.labels_raised == 1


def test_label_language_and_quality_limits_set_aside_with_their_reason(bench, store):
    documents = [
        document("fine", text_of(1)),
        document("secret", text_of(2), label="restricted"),
        document("german", text_of(3), language="de"),
        document("noise", text_of(4), quality=0.1),
        document("code", text_of(5), language=""),
        document("stub", "short"),
    ]
    params = CurateParams(max_label="internal", languages=("en",), min_characters=10)
    got = Curated(bench, store, documents, params)
    assert got.paths == ["fine", "code"]
    assert got.report.set_aside == {"label": 1, "language": 1, "low-quality": 1, "too-short": 1}
    assert got.report.documents_seen == got.report.kept + sum(got.report.set_aside.values()) == 6


def test_the_manifest_counts_what_is_in_the_corpus(bench, store):
    documents = [document("a", "é" * 100, label="public"), document("b", text_of(1), licence="MIT")]
    manifest = Curated(bench, store, documents, CurateParams()).manifest
    assert manifest.documents == 2
    assert manifest.bytes == 200 + len(text_of(1))
    assert (manifest.label, manifest.labels) == ("internal", {"internal": 1, "public": 1})
    assert manifest.licences == {"MIT": 1, "unknown": 1}


def test_a_second_run_over_the_remains_of_a_killed_one_gives_the_same_corpus(bench, store):
    documents = [document(str(number), text_of(number)) for number in range(30)]
    first = Curated(bench, store, documents, CurateParams())
    (bench.scratch / "out" / "corpus").mkdir(parents=True, exist_ok=True)
    (bench.scratch / "out" / "corpus" / "part-99999.jsonl.zst").write_bytes(b"half")
    (bench.scratch / "copies.db").write_bytes(b"half")
    second = Curated(bench, store, documents, CurateParams())
    assert first.outputs["corpus"] == second.outputs["corpus"]


def split_paths(bench: Bench, store: ArtifactStore, corpus: str, params: SplitParams) -> tuple[set[str], set[str]]:
    outputs = SPLIT.run({"corpus": corpus}, params, bench)
    train, held_out = (store.folder(outputs[name]) for name in ("train", "held_out"))
    return {each.path for each in read_parts(train)}, {each.path for each in read_parts(held_out)}


def test_a_split_parts_the_corpus_and_new_documents_do_not_move_old_ones(bench, store):
    documents = [document(f"{number}.md", text_of(number)) for number in range(300)]
    small = Curated(bench, store, documents[:200], CurateParams()).outputs["corpus"]
    large = Curated(bench, store, documents, CurateParams()).outputs["corpus"]
    train, held_out = split_paths(bench, store, small, SplitParams(held_out=0.1))
    assert not train & held_out
    assert len(train | held_out) == 200
    assert 5 <= len(held_out) <= 40
    later_train, later_held_out = split_paths(bench, store, large, SplitParams(held_out=0.1))
    assert train <= later_train
    assert held_out <= later_held_out


@pytest.mark.parametrize("count", [2, 3, 5])
def test_both_sides_of_a_tiny_corpus_have_a_document(bench, store, count):
    documents = [document(f"{number}.md", text_of(number)) for number in range(count)]
    corpus = Curated(bench, store, documents, CurateParams()).outputs["corpus"]
    for held_out_share in (0.001, 0.999):
        train, held_out = split_paths(bench, store, corpus, SplitParams(held_out=held_out_share))
        assert train
        assert held_out
        assert len(train) + len(held_out) == count


def test_a_corpus_of_one_document_cannot_be_split(bench, store):
    corpus = Curated(bench, store, [document("a", text_of(1))], CurateParams()).outputs["corpus"]
    with pytest.raises(DataError, match="cannot be split"):
        SPLIT.run({"corpus": corpus}, SplitParams(), bench)
