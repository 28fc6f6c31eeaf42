"""The embedding model follows the documents, or stays as it was; a kill changes nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from tokenworks.core.corpus import write_parts
from tokenworks.core.document import Document
from tokenworks.core.encoder_folder import check_folder, read_card
from tokenworks.line.train import embed
from tokenworks.line.train._pairs import PER_DOCUMENT, document_pairs, mine

TOPICS = ["card lost help", "money transfer fee", "password app account", "bank late to please"]


def document(path: str, text: str, title: str = "") -> Document:
    return Document(path=path, source="docs", sha256="0", media_type="text/markdown", text=text, title=title)


def corpus(count: int) -> list[Document]:
    documents = []
    for number in range(count):
        topic = TOPICS[number % len(TOPICS)]
        body = "\n\n".join(f"{topic} {number} {part} {topic} is what {topic} of the {part}" for part in range(4))
        documents.append(document(f"{number}.md", body, title=f"{topic} {number}"))
    return documents


@pytest.fixture
def inputs(bench, tiny_bert, tmp_path):
    write_parts(tmp_path / "corpus", corpus(120))
    return {"corpus": bench.artifacts.put_folder(tmp_path / "corpus"), "base": bench.artifacts.put_folder(tiny_bert)}


def test_headings_find_their_paragraphs_and_paragraphs_their_neighbours():
    words = "one two three four five six seven eight"
    text = f"# Cards\n\n{words}.\n\n{words} nine.\n\n# Loans\n{words} ten.\n\nshort\n"
    pairs = [(pair.anchor, pair.positive.split()[-1]) for pair in document_pairs(document("a", text, "Guide"), 1)]
    assert pairs == [
        ("Guide: Cards", "eight."),
        ("Guide: Cards", "nine."),
        (f"{words}.", "nine."),
        ("Guide: Loans", "ten."),
    ]


def test_mining_does_not_depend_on_the_order_and_keeps_judging_documents_apart():
    documents = corpus(60)
    found, again = mine(documents, 0), mine(reversed(documents), 0)
    assert sorted(found.learn) == sorted(again.learn)
    assert found == again
    assert not {pair.document for pair in found.learn} & {pair.document for pair in found.judge}
    counts = [pair.document for pair in found.learn + found.judge]
    assert max(counts.count(number) for number in set(counts)) <= PER_DOCUMENT


def test_adapting_never_finds_fewer_held_out_pairs(bench, inputs):
    params = embed.Params(budget_s=6)
    inputs |= embed.PLAN.run(inputs, params, bench)
    out = embed.TRAIN.run(inputs, params, bench)
    log = json.loads(bench.artifacts.get_bytes(out["log"]))
    scores = log["held_out_mrr"]
    assert scores[str(log["share_adapted"])] == max(scores.values())
    folder = bench.artifacts.folder(out["model"])
    check_folder(folder)
    card = read_card(folder)
    assert card is not None
    assert card.kind == "embed"


def test_training_killed_half_way_ends_in_the_same_bytes(bench, inputs, tmp_path):
    params = embed.Params(budget_s=6)
    inputs |= embed.PLAN.run(inputs, params, bench)
    undisturbed = dict(embed.TRAIN.run(inputs, params, bench))
    again = tmp_path / "killed"
    again.mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), json.dumps(inputs)])
    assert done.returncode == -signal.SIGKILL
    assert dict(embed.TRAIN.run(inputs, params, replace(bench, scratch=again))) == undisturbed


KILLED = """
import json, os, signal, sys
from pathlib import Path
from tokenworks.core.stage import Bench
from tokenworks.line.train import _encoder_loop, embed
from tokenworks.store.artifacts import open_artifacts

folder, inputs = Path(sys.argv[1]), json.loads(sys.argv[2])
_encoder_loop.CHECKPOINT_EVERY_S = 0.0

def progress(done, total=None, *, unit="", note=""):
    if unit == "steps" and done >= total // 2:
        os.kill(os.getpid(), signal.SIGKILL)

artifacts = open_artifacts(str(folder / "artifacts"), cache=folder / "store-cache")
bench = Bench(artifacts=artifacts, scratch=folder / "killed", cache=folder / "cache", progress=progress, threads=1)
embed.TRAIN.run(inputs, embed.Params(budget_s=6), bench)
"""


def test_too_few_documents_keep_the_base_byte_for_byte(bench, tiny_bert, tmp_path):
    write_parts(tmp_path / "few", corpus(3))
    inputs = {"corpus": bench.artifacts.put_folder(tmp_path / "few"), "base": bench.artifacts.put_folder(tiny_bert)}
    inputs |= embed.PLAN.run(inputs, embed.Params(), bench)
    plan = json.loads(bench.artifacts.get_bytes(inputs["plan"]))
    assert plan["method"] == "keep"
    folder = bench.artifacts.folder(embed.TRAIN.run(inputs, embed.Params(), bench)["model"])
    assert (folder / "model.safetensors").read_bytes() == (tiny_bert / "model.safetensors").read_bytes()
