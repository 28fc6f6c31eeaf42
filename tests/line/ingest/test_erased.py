"""Documents erased on request: never opened again, said so on record, and in no byte of the cache."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import msgspec
import pytest

from tokenworks.core.errors import StoreError
from tokenworks.line.ingest.cache import Cache
from tokenworks.line.ingest.params import IngestParams, Source
from tokenworks.line.ingest.stage import fingerprint

PROSE = "The quick brown fox jumps over the lazy dog and then it sleeps in the sun for the rest of the day.\n"


def erasing(folder: Path, *erased: str) -> IngestParams:
    return IngestParams(sources=(Source(name="docs", path=str(folder)),), processes=1, erased=erased)


def reasons(got: object) -> dict[str, str]:
    return {each.path: each.reason for each in got.set_aside}  # type: ignore[attr-defined]


def test_an_erased_document_is_left_out_and_named_although_its_file_is_there(folder, ingest):
    (folder / "her.md").write_text(PROSE)
    (folder / "his.md").write_text("His own page. " + PROSE)
    got = ingest(erasing(folder, "docs/her.md"))
    assert [document.path for document in got.documents] == ["his.md"]
    assert reasons(got) == {"her.md": "erased"}


def test_a_member_of_an_archive_and_a_row_of_a_table_can_be_erased_alone(folder, ingest):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("her.md", PROSE)
        archive.writestr("his.md", "His own page. " + PROSE)
    (folder / "rows.jsonl").write_text("".join(f'{{"text": "Row {n}. {PROSE.strip()}"}}\n' for n in range(3)))
    got = ingest(erasing(folder, "docs/a.zip!/her.md", "docs/rows.jsonl#2"))
    left = {document.path for document in got.documents}
    assert "a.zip!/his.md" in left
    assert left.isdisjoint({"a.zip!/her.md", "rows.jsonl#2"})
    assert len(left) == 3
    assert set(reasons(got).values()) == {"erased"}


def test_erasing_a_document_changes_the_fingerprint_of_its_source(folder):
    (folder / "her.md").write_text(PROSE)
    params = IngestParams(sources=(Source(name="docs", path=str(folder)),))
    before = fingerprint(params)
    assert fingerprint(msgspec.structs.replace(params, erased=("docs/other.md",))) == before
    assert fingerprint(msgspec.structs.replace(params, erased=("docs/her.md",))) != before


def test_the_cache_forgets_every_content_that_a_file_ever_had(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for key, text in (("old", b"her old secret"), ("new", b"her new secret"), ("his", b"his page")):
        cache.put_chunk(key, 0, text * 100)
        cache.finish(key, 1)
    cache.remember(b"/docs/her.md", 1, 1, "c", "old")
    cache.remember(b"/docs/her.md", 2, 2, "c", "new")  # the file was edited
    cache.remember(b"/docs/his.md", 1, 1, "c", "his")
    cache.commit()
    cache.forget(b"/docs/her.md")
    assert not cache.complete("new")
    assert list(cache.chunks("his")) == [b"his page" * 100]
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())
    cache.close()


def test_a_cache_that_is_being_written_says_when_to_try_again(tmp_path: Path) -> None:
    writer, other = Cache(tmp_path), Cache(tmp_path)
    other._db.execute("PRAGMA busy_timeout = 50")
    writer.put_chunk("a", 0, b"text")
    with pytest.raises(StoreError, match="try again"):
        other.forget(os.fsencode("/docs/her.md"))
    writer.close()
    other.close()
