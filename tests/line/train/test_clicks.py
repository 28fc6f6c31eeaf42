"""Clicks teach the embedding model; what they cannot teach is counted, and nothing is kept that finds less."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tokenworks.core.corpus import write_parts
from tokenworks.core.document import Document
from tokenworks.core.errors import DataError
from tokenworks.line.train import embed
from tokenworks.line.train._click_pairs import choose_passages, material
from tokenworks.line.train._clicks import Clicked, read_clicks
from tokenworks.line.train._encoder_torch import load_encoder
from tokenworks.line.train._pairs import HELD_OUT_EVERY, mine

WORDS = ["card", "lost", "help", "money", "transfer", "fee", "password", "app", "account", "bank", "late", "please"]


def documents(count: int) -> list[Document]:
    rng, made = np.random.default_rng(0), []
    for number in range(count):
        text = "\n\n".join(" ".join(rng.choice(WORDS, 12)) + f" {number}" for _ in range(4))
        made.append(Document(path=f"{number}.md", source="docs", sha256="0", media_type="text/markdown", text=text))
    return made


def rows(count: int) -> bytes:
    return b"".join(
        json.dumps({"query": f"where is {at} {WORDS[at % 12]}", "document": f"docs/{at}.md"}).encode() + b"\n"
        for at in range(count)
    )


def test_clicks_on_documents_that_are_gone_are_counted_and_repeated_ones_count_once():
    lines = [*rows(3).splitlines(), *rows(1).splitlines(), b'{"query": "q", "document": "docs/gone.md"}']
    found = read_clicks(lines, documents(10))
    assert (found.rows, len(found.queries), found.unknown) == (5, 3, 1)
    with pytest.raises(DataError, match="clicks line 1"):
        read_clicks([b'{"query": "q"}'], [])


def test_a_hard_negative_is_near_but_neither_clicked_nor_nearly_as_near_as_the_right_one():
    clicked = Clicked(
        queries=["q", "q"], documents=[1, 3], owners=[1, 1, 3, 5, 7], passages=list("abcde"), rows=2, unknown=0
    )
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    cosines = torch.tensor([0.5, 0.9, 0.7, 0.89, 0.6])  # d is too near to be surely wrong, c is clicked as well
    passages = torch.stack([cosines, (1 - cosines**2).sqrt()], 1)
    right, hard = choose_passages(query, passages, clicked)
    assert right == [1, 2]
    assert hard == [4, 4]


def test_documents_that_judge_are_not_learnt_from_not_even_as_negatives(tiny_bert):
    files = documents(120)
    clicked, pairs = read_clicks(rows(120).splitlines(), files), mine(files, 0)
    found = material(pairs, clicked, load_encoder(tiny_bert), tiny_bert, bf16=False)
    judging = {
        text for text, owner in zip(clicked.passages, clicked.owners, strict=True) if owner % HELD_OUT_EVERY == 0
    }
    assert found.judge_clicks
    assert judging
    assert not judging & {text for pair in found.learn for text in (pair.positive, pair.hard)}


@pytest.mark.parametrize(("found", "clicks", "best"), [
    ({0.0: 0.5, 0.5: 0.6, 1.0: 0.7}, {}, 1.0),
    ({0.0: 0.5, 0.5: 0.6, 1.0: 0.4}, {0.0: 0.1, 0.5: 0.2, 1.0: 0.9}, 0.5),  # the best for clicks forgets
    ({0.0: 0.5, 0.5: 0.5, 1.0: 0.5}, {0.0: 0.3, 0.5: 0.3, 1.0: 0.2}, 0.0),
    ({}, {0.0: 0.3, 0.5: 0.4, 1.0: 0.2}, 0.5),
    ({}, {}, 0.0),
])  # fmt: skip
def test_the_mixture_finds_most_clicks_and_forgets_nothing(found, clicks, best):
    assert embed.best_mixture(found, clicks) == best


def test_training_with_clicks_is_repeatable_and_says_what_it_used(bench, tiny_bert, tmp_path):
    write_parts(tmp_path / "corpus", documents(260))
    inputs = {
        "corpus": bench.artifacts.put_folder(tmp_path / "corpus"),
        "base": bench.artifacts.put_folder(tiny_bert),
        "clicks": bench.artifacts.put_bytes(rows(270)),
    }
    inputs |= embed.PLAN.run(inputs, embed.Params(budget_s=2), bench)
    out = embed.TRAIN.run(inputs, embed.Params(budget_s=2), bench)
    log = json.loads(bench.artifacts.get_bytes(out["log"]))
    assert (log["clicks"]["rows"], log["clicks"]["used"], log["clicks"]["unknown"]) == (270, 260, 10)
    assert log["clicks"]["judged"] > 0
    assert log["losses"]
    (bench.scratch / "checkpoint.tensors").unlink(missing_ok=True)
    assert dict(embed.TRAIN.run(inputs, embed.Params(budget_s=2), bench)) == dict(out)
