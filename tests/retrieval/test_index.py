"""The index: finds, follows the corpus, survives a kill, and never shows what may not be seen."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.document import Document
from tokenworks.core.errors import DataError, IntegrityError
from tokenworks.core.label import Label
from tokenworks.retrieval.index import Index

WORDS = ["card", "loan", "password", "holiday", "server", "invoice"]
SYNONYMS = {"kennwort": "password", "urlaub": "holiday"}


async def embed(texts: list[str]) -> np.ndarray:
    """Count words, synonyms included: a stand-in that knows what two words of another language mean."""
    rows = [[SYNONYMS.get(word, word) for word in text.lower().replace(".", " ").split()] for text in texts]
    counts = np.array([[row.count(word) for word in WORDS] for row in rows], np.float32) + 1e-3
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def document(path: str, text: str, label: str = "internal", title: str = "") -> Document:
    return Document(path=path, source="docs", sha256="0", media_type="text/plain", text=text, label=label, title=title)


DOCUMENTS = [
    document("card.md", "How to block a lost card. Call the hotline."),
    document("loan.md", "A loan needs two signatures."),
    document("password.md", "Choose a new password in the portal."),
    document("salaries.md", "The salary of the director and the holiday bonus.", label="restricted"),
    document("holiday.md", "Ask for holiday two weeks ahead."),
]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = Index.open(tmp_path / "index")
    index.update(DOCUMENTS, corpus="one")
    return index


async def paths(index: Index, query: str, clearance: Label = Label.RESTRICTED, **how: object) -> list[str]:
    return [hit.path for hit in await index.search(query, clearance=clearance, **how)]


async def test_text_is_searchable_before_any_vector_exists(index):
    assert (await paths(index, "lost cards", embed=embed))[0] == "card.md"
    assert index.counts().vectors == 0


async def test_vectors_find_what_words_cannot(index):
    assert await paths(index, "kennwort") == []
    assert await index.fill(embed, model="m@1") == 5
    assert (await paths(index, "kennwort", embed=embed))[0] == "password.md"


async def test_nothing_above_the_clearance_is_returned_in_either_way(index):
    await index.fill(embed, model="m@1")
    for clearance in Label:
        for how in ({}, {"embed": embed}):
            hits = await index.search("holiday salary director card", clearance=clearance, **how)
            assert all(Label.parse(hit.label) <= clearance for hit in hits)
    assert "salaries.md" in await paths(index, "salary", Label.RESTRICTED)
    assert await paths(index, "salary", Label.CONFIDENTIAL) == []


async def test_an_update_touches_only_what_changed(index):
    await index.fill(embed, model="m@1")
    changed = [
        document("card.md", "How to block a stolen card."),
        *DOCUMENTS[1:4],
        document("new.md", "A new invoice."),
    ]
    update = index.update(changed, corpus="two")
    assert (update.added, update.changed, update.removed, update.unchanged) == (1, 1, 1, 3)
    assert index.corpus == "two"
    assert index.counts().vectors == 3
    assert await paths(index, "weeks ahead") == []
    assert await paths(index, "stolen") == ["card.md"]
    assert await index.fill(embed, model="m@1") == 2


async def test_a_label_that_was_raised_hides_the_document_at_once(index):
    await index.fill(embed, model="m@1")
    raised = [document("card.md", DOCUMENTS[0].text, label="restricted"), *DOCUMENTS[1:]]
    index.update(raised, corpus="two")
    assert index.counts().vectors == 5  # the text is the same, so is its vector
    assert "card.md" not in await paths(index, "lost card", Label.INTERNAL, embed=embed)


async def test_the_same_corpus_is_not_even_read(index):
    def unreadable():
        raise AssertionError("read")
        yield

    assert index.update(unreadable(), corpus="one").unchanged == 5


async def test_another_model_makes_all_vectors_anew(index):
    await index.fill(embed, model="m@1")
    assert await index.fill(embed, model="m@1") == 0
    assert await index.fill(embed, model="m@2") == 5
    assert index.model == "m@2"


async def test_filling_that_breaks_off_goes_on_where_it_was(index):
    calls = 0

    async def breaks(texts):
        nonlocal calls
        calls += 1
        if calls > 2:
            raise RuntimeError("engine gone")
        return await embed(texts)

    with pytest.raises(RuntimeError, match="engine gone"):
        await index.fill(breaks, model="m@1", batch=2)
    assert index.counts().vectors == 4
    assert await index.fill(embed, model="m@1", batch=2) == 1


@pytest.mark.parametrize("bad", [np.zeros((1, 6)), np.full((5, 6), np.nan), np.zeros(5)])
async def test_unusable_vectors_are_refused(bad, index):
    async def broken(texts):
        return bad

    with pytest.raises(DataError, match="m@1 gave vectors"):
        await index.fill(broken, model="m@1")
    assert index.counts().vectors == 0


async def test_a_query_of_another_dimension_is_refused(index):
    async def wide(texts):
        return np.ones((len(texts), 9), np.float32)

    await index.fill(embed, model="m@1")
    with pytest.raises(DataError, match="9 dimensions, the index 6"):
        await index.search("card", clearance=Label.PUBLIC, embed=wide)


async def test_what_looks_like_an_operator_is_searched_as_words(index):
    for query in ('card" OR "', "NEAR(card", "title:card -loan *", "", "???", "AND"):
        await index.search(query, clearance=Label.RESTRICTED, embed=embed)
    assert (await paths(index, 'title:"card"'))[0] == "card.md"


async def test_searching_goes_on_while_another_connection_writes(index, tmp_path):
    await index.fill(embed, model="m@1")
    other = Index.open(tmp_path / "index")
    many = [*DOCUMENTS, *(document(f"n{number}.md", f"invoice {number}") for number in range(300))]
    writing = asyncio.create_task(asyncio.to_thread(other.update, many, corpus="two"))
    while not writing.done():
        assert (await paths(index, "lost card", embed=embed))[0] == "card.md"
    await writing
    assert index.counts().documents == 305


async def test_one_document_gives_one_hit(tmp_path):
    index = Index.open(tmp_path)
    index.update([document("long.md", "The invoice is late. " * 200), DOCUMENTS[0]], corpus="x")
    assert index.counts().passages > 3
    assert sorted(await paths(index, "invoice card")) == ["card.md", "long.md"]
    assert await paths(index, "invoice") == ["long.md"]


def test_a_document_that_comes_twice_is_refused_and_nothing_changes(index):
    with pytest.raises(DataError, match=r"'card.md' of source 'docs' comes twice"):
        index.update([*DOCUMENTS, document("x.md", "x"), document("card.md", "again")], corpus="two")
    assert index.corpus == "one"
    assert index.counts().documents == 5


KILLED = """
import os, signal, sys
from pathlib import Path
from tokenworks.core.document import Document
from tokenworks.retrieval.index import Index

def documents():
    for number in range(2000):
        if number == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        text = f"invoice {number}"
        yield Document(path=f"{number}.md", source="docs", sha256="0", media_type="text/plain", text=text)

Index.open(Path(sys.argv[1])).update(documents(), corpus="two")
"""


@pytest.mark.parametrize("at", [1, 1500])
def test_an_update_killed_half_way_leaves_the_old_index(at, index, tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "index"), str(at)])
    assert done.returncode == -signal.SIGKILL
    again = Index.open(tmp_path / "index")
    assert again.corpus == "one"
    assert again.counts().documents == 5
    assert again.update(DOCUMENTS[:2], corpus="three").removed == 3


def test_a_damaged_file_is_named_with_the_way_out(tmp_path):
    Index.open(tmp_path).close()
    for path in tmp_path.glob("index.db*"):
        path.write_bytes(os.urandom(5000))
    with pytest.raises(IntegrityError, match=r"index\.db: .*delete it"):
        Index.open(tmp_path)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(WORDS)), min_size=1, max_size=4))
def test_after_any_updates_the_index_shows_exactly_the_last_corpus(tmp_path_factory, corpora):
    index = Index.open(tmp_path_factory.mktemp("any"))
    for number, corpus in enumerate(corpora):
        index.update([document(path, word) for path, word in corpus.items()], corpus=str(number))
    for word in WORDS:
        hits = asyncio.run(index.search(word, 10, clearance=Label.RESTRICTED))
        assert {hit.path for hit in hits} == {path for path, held in corpora[-1].items() if held == word}
    index.close()


async def test_an_erased_document_is_gone_at_once_from_answers_and_from_every_byte(index, tmp_path):
    zipped = [document("a.zip!/card.md", "The zebra card."), document("t.csv#1", "zebra"), document("t.csv2", "zebra")]
    index.update([*DOCUMENTS, *zipped], corpus="two")
    await index.fill(embed, model="m")
    assert (await paths(index, "director salary"))[0] == "salaries.md"
    assert index.erase("docs", "salaries.md") == 1
    assert "salaries.md" not in await paths(index, "director salary holiday bonus", embed=embed)
    assert (index.erase("docs", "a.zip"), index.erase("docs", "t.csv"), index.erase("docs", "t.csv")) == (1, 1, 0)
    assert await paths(index, "zebra") == ["t.csv2"]
    assert not any(b"director" in path.read_bytes() for path in (tmp_path / "index").iterdir())
    assert index.corpus == ""  # the next update is done, whatever corpus was shown before
    assert index.counts().vectors == index.counts().passages
