"""A corpus folder is searched by passages; gold and clicks name its documents as search does."""

from __future__ import annotations

import json

from tokenworks.core.document import Document
from tokenworks.line.evaluate import ranking
from tokenworks.line.evaluate.gold import read_gold


def document(path: str, text: str) -> Document:
    return Document(path=path, source="docs", sha256="0", media_type="text/plain", text=text, title="Title")


def gold(*names: str):
    rows = [json.dumps({"query": "q", "document": name, "group": "user-1"}) for name in names]
    return read_gold("\n".join(rows).encode(), "embed")


def test_a_click_is_a_gold_row_and_keeps_who_clicked():
    (row,) = gold("docs/a.md")
    assert row.row == {"relevant": ["docs/a.md"]}
    assert row.cluster == "user-1"


def test_no_passage_is_longer_than_an_encoder_reads_and_no_word_is_lost():
    text = " ".join(f"word{number}" for number in range(400)) + " " + "x" * 2000
    shelf = ranking.shelve([document("a.md", text)], gold("docs/a.md"))
    assert max(map(len, shelf.texts)) <= ranking.PASSAGE_CHARACTERS + len("Title ")
    assert all(f"word{number}" in " ".join(shelf.texts).split() for number in range(400))
    assert set(shelf.owners) == {"docs/a.md"}


def test_a_large_corpus_is_searched_in_part_but_for_what_is_asked(monkeypatch):
    monkeypatch.setattr(ranking, "MOST_PASSAGES", 5)
    shelf = ranking.shelve([document(f"{at}.md", "some text") for at in range(50)], gold("docs/7.md", "docs/gone.md"))
    assert "docs/7.md" in shelf.owners
    assert len(shelf.owners) == 5
    assert "45 of 50 documents were left out" in shelf.notes[0]
    assert "1 documents that are asked for are not in the corpus" in shelf.notes[1]


def test_many_passages_of_one_document_are_one_hit():
    assert ranking._first(["a", "a", "b", "a", "c"]) == ["a", "b", "c"]
