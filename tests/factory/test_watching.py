"""Documents that change or vanish: the index follows, unchanged passages keep their vectors, and turns become due."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from factory.erasable import bytes_below, release_model, remember
from tokenworks.core.errors import ErasedError
from tokenworks.core.label import Label
from tokenworks.core.task import Task, TaskData, TaskHead
from tokenworks.factory.corpora import newest_corpora, show
from tokenworks.factory.due import due
from tokenworks.factory.erasing import erase, unlearned
from tokenworks.factory.making import Making
from tokenworks.factory.reach import target_of
from tokenworks.factory.watching import Changed, Watcher, watch_in_child
from tokenworks.line.recipes import documents
from tokenworks.retrieval.index import Index
from tokenworks.settings import Settings

PAGE = "# {title}\n\nThe page of {title} says how things are done here, and who does them on which day.\n\n{more}\n"


def write(folder: Path, name: str, more: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(PAGE.format(title=name, more=more))


def task(folder: Path, name: str = "search", label: str = "internal") -> Task:
    return Task(
        task=TaskHead(name=name, kind="embed", owner="mailto:a@example.org", label=label),
        data=TaskData(sources=(str(folder),)),
    )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Making]:
    with Making(msgspec.convert({"home": str(tmp_path / "home"), "line": {"processes": 1}}, Settings)) as made:
        yield made


@pytest.fixture
def docs(tmp_path: Path, house: Making) -> Path:
    """Three documents that were read, and a model that learned from them."""
    folder = tmp_path / "docs"
    for name in ("holiday", "invoice", "salary"):
        write(folder, name, f"Words about {name} that nobody else has said.")
    learn(house, task(folder))
    return folder


def learn(house: Making, one: Task) -> None:
    remember(house, one)
    corpus = documents(one, house.runner)["corpus"]
    release_model(house, house.runner, one.name, corpus, one.kind)


def look(house: Making) -> list[Changed]:
    return list(Watcher(house).look())


async def found(house: Making, query: str) -> list[str]:
    index = Index.open(house.home / "index")
    hits = await index.search(query, clearance=Label.RESTRICTED)
    index.close()
    return [hit.path for hit in hits]


async def embed(texts: list[str]) -> np.ndarray:
    return np.ones((len(texts), 4), np.float32) / 2


async def test_what_changed_is_answered_at_once_and_makes_the_task_due(house, docs):
    assert look(house) == []
    assert due(house.catalog, "search").reason == ""
    write(docs, "holiday", "Zanzibar is where we go.")
    write(docs, "travel", "Trains before planes.")
    (docs / "salary.md").unlink()
    (changed,) = look(house)
    assert (changed.added, changed.due) == (3, True)  # of an index that nobody had filled before
    assert await found(house, "zanzibar") == ["holiday.md"]
    assert await found(house, "words about salary nobody") == ["invoice.md"]
    assert due(house.catalog, "search").documents
    assert look(house) == []


async def test_unchanged_passages_keep_their_vectors(house, docs):
    index = Index.open(house.home / "index")
    show(house, index)
    assert await index.fill(embed, model="m") == 3
    write(docs, "holiday", "Zanzibar is where we go.")
    (changed,) = look(house)
    assert (changed.changed, changed.unchanged) == (1, 2)
    assert await index.fill(embed, model="m") == 1
    index.close()


async def test_documents_of_two_tasks_are_found_beside_each_other_under_the_higher_label(house, docs, tmp_path):
    write(tmp_path / "more", "visas", "Who needs a visa asks the embassy.")
    learn(house, task(tmp_path / "more", "visas"))
    learn(house, task(docs, "again"))
    index = Index.open(house.home / "index")
    show(house, index)
    index.close()
    assert set(newest_corpora(house)) == {"search", "visas"}  # 'again' reads what 'search' has read
    assert await found(house, "embassy") == ["visas.md"]
    assert len(await found(house, "words nobody else has said")) == 3
    write(docs, "holiday", "Zanzibar is where we go.")
    assert {changed.task for changed in look(house)} == {"again", "search"}
    assert (await found(house, "embassy"), await found(house, "zanzibar")) == (["visas.md"], ["holiday.md"])


async def test_a_source_that_cannot_be_read_leaves_its_documents_in_place(house, docs):
    index = Index.open(house.home / "index")
    show(house, index)
    index.close()
    docs.rename(docs.with_name("unmounted"))
    assert look(house) == []
    assert len(await found(house, "words nobody else has said")) == 3


async def test_the_line_reading_documents_itself_is_no_change(house, docs):
    write(docs, "holiday", "Zanzibar is where we go.")
    assert [changed.due for changed in look(house)] == [True]
    write(docs, "holiday", "Madagascar is where we go.")
    learn(house, task(docs))
    (changed,) = look(house)
    assert (changed.changed, changed.due) == (1, False)  # the released version has learned from it
    assert look(house) == []


async def test_an_erased_document_is_gone_from_answers_index_cache_and_copies_although_its_file_stays(house, docs):
    index = Index.open(house.home / "index")
    show(house, index)
    target = target_of(document="docs/salary.md")
    done = erase(house, target, by="officer")
    assert (done.documents, done.requests, done.released) == (1, 0, ("search@1",))
    assert due(house.catalog, "search").versions == ("search@1",)
    assert "salary.md" not in await found(house, "words about salary nobody")
    assert b"Words about salary" not in bytes_below(house.home)
    with pytest.raises(ErasedError):
        show(house, index)  # the corpus of before is gone; the next look reads the rest anew
    (changed,) = look(house)
    assert (changed.added, changed.changed, changed.removed) == (0, 0, 0)
    assert unlearned(house) == {"search": "search@1"}
    learn(house, task(docs))
    assert unlearned(house) == {}
    assert len(await found(house, "words nobody else has said")) == 2
    assert b"Words about salary" not in bytes_below(house.home)
    assert (docs / "salary.md").exists()
    assert erase(house, target, by="officer").erasure_id == done.erasure_id
    index.close()


def handbook(data_folder: Path) -> tuple[Path, Path]:
    folder = data_folder / "docs-enterprise" / "18f-handbook"
    old, new = sorted(folder.iterdir())
    return old, new


async def test_a_handbook_at_two_dates_is_answered_from_the_new_one_alone(house, data_folder, tmp_path):
    old, new = handbook(data_folder)
    docs = tmp_path / "docs"
    shutil.copytree(old, docs)
    learn(house, task(docs))
    index = Index.open(house.home / "index")
    show(house, index)
    first = await index.fill(embed, model="m", batch=1000)
    same = {p for p in files(old) if p in files(new) and (old / p).read_bytes() == (new / p).read_bytes()}
    shutil.rmtree(docs)
    shutil.copytree(new, docs)
    began = time.monotonic()
    (changed,) = look(house)
    again = await index.fill(embed, model="m", batch=1000)
    print(changed, f"{first} passages, then {again} again; {time.monotonic() - began:.1f} s")
    shown = {path.split("#")[0] for (path,) in index._reader._sql.execute("SELECT path FROM documents")}
    assert shown <= set(files(new))
    assert not shown & (set(files(old)) - set(files(new)))
    assert changed.unchanged >= len(same & shown) > 20
    assert again < index.counts().passages
    assert index.counts().passages == index.counts().vectors
    index.close()


def files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


async def test_a_server_follows_in_a_process_of_its_own(tmp_path):
    settings = {"home": str(tmp_path / "home"), "line": {"processes": 1, "watch_s": 0.2}}
    with Making(msgspec.convert(settings, Settings)) as made:
        write(tmp_path / "docs", "holiday", "Words that nobody else has said.")
        learn(made, task(tmp_path / "docs"))
        told = asyncio.Queue[Changed]()
        watching = asyncio.create_task(watch_in_child(made, told.put_nowait))
        await asyncio.sleep(0.5)
        write(tmp_path / "docs", "travel", "Zanzibar is where we go.")
        async with asyncio.timeout(120):
            changed = await told.get()
        assert (changed.task, changed.due) == ("search", True)
        assert await found(made, "zanzibar") == ["travel.md"]
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
