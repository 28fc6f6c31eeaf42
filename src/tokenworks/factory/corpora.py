"""One index over the documents of all tasks, kept at what the line read last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from tokenworks.core.corpus import read_parts
from tokenworks.core.document import Document
from tokenworks.core.ids import content_id
from tokenworks.core.label import Label
from tokenworks.factory.house import House
from tokenworks.retrieval.index import Index
from tokenworks.retrieval.shelf import Update


def newest_corpora(house: House) -> dict[str, str]:
    """Return task -> digest of its newest corpus, of the tasks that have one, the newest corpus first."""
    newest = {}
    for task in house.catalog.tasks.all():
        made = [one for one in house.catalog.stages.of(task.name) if one.stage == "curate"]
        if made:
            newest[task.name] = max(made, key=lambda one: one.finished_at)
    order = sorted(newest.items(), key=lambda one: -one[1].finished_at)
    return {task: made.outputs["corpus"] for task, made in order}


def show(house: House, index: Index) -> Update:
    """Make `index` show the newest corpora of all tasks; only what changed is touched.

    Raises `ErasedError` where documents of a corpus were erased and it was not read again since: the index, which
    lacks them, stays as it is.
    """
    newest = newest_corpora(house)
    digests = sorted(set(newest.values()))
    if not digests:
        return Update()  # nothing was read yet: nothing to show, and nothing to take away
    folders = [house.artifacts.folder(digest) for digest in newest.values()]
    note = digests[0] if len(digests) == 1 else content_id(digests)
    return index.update(_together(list(dict.fromkeys(folders))), corpus=note)


def _together(folders: list[Path]) -> Iterator[Document]:
    """Yield each document once, from the first folder that has it, under the highest label that any gives it."""
    if len(folders) == 1:
        yield from read_parts(folders[0])
        return
    labels: dict[tuple[str, str], Label] = {}
    for folder in folders:
        for document in read_parts(folder):
            place = (document.source, document.path)
            labels[place] = max(Label.parse(document.label), labels.get(place, Label.PUBLIC))
    for folder in folders:
        for document in read_parts(folder):
            label = labels.pop((document.source, document.path), None)
            if label is not None:
                yield msgspec.structs.replace(document, label=str(label))
