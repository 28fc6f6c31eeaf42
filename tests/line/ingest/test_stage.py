from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.stage import Bench
from tokenworks.line.ingest.params import Dictionary, IngestParams, LabelRule, Limits, Source
from tokenworks.line.ingest.stage import INGEST, fingerprint

PROSE = "The quick brown fox jumps over the lazy dog and then it sleeps in the sun for the rest of the day.\n"


def params_of(folder: Path, **changes: object) -> IngestParams:
    base = IngestParams(sources=(Source(name="docs", path=str(folder)),), processes=1)
    return msgspec.structs.replace(base, **changes)


def fill(folder: Path, count: int) -> None:
    for number in range(count):
        place = folder / f"d{number % 7}"
        place.mkdir(exist_ok=True)
        (place / f"{number:04d}.md").write_text(f"# Page {number}\n\n" + PROSE * (1 + number % 5))


def test_documents_come_in_the_order_of_their_paths_with_hash_title_and_language(folder, ingest):
    (folder / "b.md").write_text("---\ntitle: Second\n---\n" + PROSE)
    (folder / "a.txt").write_text(PROSE)
    (folder / "z").mkdir()
    (folder / "z" / "page.html").write_text(f"<title>Third</title><body><nav>menu</nav><p>{PROSE}</p></body>")
    (folder / "code.py").write_text("# SPDX-License-Identifier: MIT\nprint('hello')\n")
    got = ingest()
    assert [document.path for document in got.documents] == ["a.txt", "b.md", "code.py", "z/page.html"]
    assert [document.title for document in got.documents] == ["", "Second", "code.py", "Third"]
    assert [document.language for document in got.documents] == ["en", "en", "", "en"]
    assert got.documents[2].licence == "MIT"
    assert all(len(document.sha256) == 64 and document.label == "internal" for document in got.documents)
    assert "menu" not in got.texts()["z/page.html"]


def test_every_kind_of_bad_file_is_set_aside_with_its_reason_and_nothing_is_lost(folder, ingest, tmp_path):
    (folder / "good.md").write_text(PROSE)
    (folder / "zero.txt").write_bytes(b"")
    (folder / "blank.txt").write_text(" \n\n\t\n")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 40)
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 but no more")
    (folder / "broken.docx").write_bytes(b"PK\x03\x04 nothing")
    (folder / "broken.zip").write_bytes(b"not a zip")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "link.md").symlink_to(folder / "good.md")
    (folder / "dangling.md").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.txt")
    got = ingest()
    assert list(got.texts()) == ["good.md"]
    assert got.reasons() == {
        "zero.txt": "empty",
        "blank.txt": "empty",
        "binary.txt": "binary",
        "picture.png": "no-reader",
        "broken.pdf": "damaged",
        "broken.docx": "damaged",
        "broken.zip": "damaged",
        "loop": "symlink",
        "link.md": "symlink",
        "dangling.md": "symlink",
        "pipe.txt": "not-a-file",
    }
    assert got.report.files.seen == 12
    assert got.report.documents.seen == got.report.documents.kept + sum(got.report.set_aside.values()) == 12
    got.report.check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_set_aside(folder, ingest):
    (folder / "closed.md").write_text(PROSE)
    (folder / "closed.md").chmod(0)
    assert ingest().reasons() == {"closed.md": "unreadable"}


def test_a_file_that_vanishes_after_the_listing_is_set_aside(folder, bench, store):
    from tokenworks.line.ingest.cache import Cache
    from tokenworks.line.ingest.collect import Collector
    from tokenworks.line.ingest.listing import Listing
    from tokenworks.line.ingest.stage import _hello
    from tokenworks.line.ingest.walk import Entry

    cache, listing = Cache(bench.cache), Listing(bench.scratch / "listing.db")
    entry = Entry(source="docs", path="gone.md", absolute=os.fsencode(folder / "gone.md"), size=10, mtime_ns=1)
    total = listing.fill([entry])
    Collector(listing, total, cache, _hello(params_of(folder), cache), bench.progress).run(1)
    assert [outcome.reason for _, outcome in listing.settled()] == ["vanished"]


def test_a_second_run_reads_nothing_and_gives_the_same_digests(folder, ingest):
    fill(folder, 30)
    for path in folder.rglob("*.md"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    first, second = ingest(), ingest()
    assert second.report.files.cached == 30
    assert {name: first.outputs[name] for name in ("documents", "set_aside", "provenance")} == {
        name: second.outputs[name] for name in ("documents", "set_aside", "provenance")
    }


def test_only_what_changed_is_read_again_and_a_deleted_document_leaves(folder, ingest):
    fill(folder, 20)
    for path in folder.rglob("*.md"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    ingest()
    (folder / "d0" / "0000.md").unlink()
    (folder / "d1" / "0001.md").write_text("# New words\n\n" + PROSE)
    got = ingest()
    assert got.report.files.cached == 18
    assert "d0/0000.md" not in got.texts()
    assert got.texts()["d1/0001.md"].startswith("# New words")


def test_touching_a_file_changes_provenance_but_not_the_documents(folder, ingest):
    fill(folder, 3)
    first = ingest()
    os.utime(folder / "d0" / "0000.md", (1_600_000_000, 1_600_000_000))
    second = ingest()
    assert first.outputs["documents"] == second.outputs["documents"]
    assert first.outputs["provenance"] != second.outputs["provenance"]


def test_the_number_of_processes_does_not_change_the_documents(folder, ingest):
    fill(folder, 40)
    one = ingest(params_of(folder, processes=1))
    three = ingest(params_of(folder, processes=3, memory_mb=1025))
    assert one.outputs["documents"] == three.outputs["documents"]


def test_the_fingerprint_moves_with_content_and_not_without(folder):
    fill(folder, 3)
    before = fingerprint(params_of(folder))
    assert fingerprint(params_of(folder)) == before
    (folder / "new.md").write_text(PROSE)
    assert fingerprint(params_of(folder)) != before


def test_a_source_that_does_not_exist_is_named(folder):
    with pytest.raises(DataError, match="nowhere"):
        fingerprint(IngestParams(sources=(Source(name="docs", path=str(folder / "nowhere")),)))


def test_two_sources_of_one_name_are_refused(folder):
    source = Source(name="docs", path=str(folder))
    with pytest.raises(ConfigError, match="twice"):
        fingerprint(IngestParams(sources=(source, source)))


def test_labels_come_from_rules_front_matter_and_detectors_and_the_highest_wins(folder, ingest, tmp_path):
    names = tmp_path / "projects.txt"
    names.write_text("Blue Heron\n")
    (folder / "hr").mkdir()
    (folder / "hr" / "plan.md").write_text(PROSE)
    (folder / "said.md").write_text("---\nlabel: confidential\n---\n" + PROSE)
    (folder / "card.md").write_text(PROSE + "Card 4111 1111 1111 1111 expires soon.\n")
    (folder / "odd.md").write_text("---\nlabel: top secret\n---\n" + PROSE)
    (folder / "heron.md").write_text(PROSE + "The blue heron launch is in May.\n")
    (folder / "open.md").write_text(PROSE)
    source = Source(name="docs", path=str(folder), label="public", rules=(LabelRule(glob="hr/**", label="restricted"),))
    got = ingest(
        IngestParams(sources=(source,), processes=1, dictionaries=(Dictionary(name="projects", path=str(names)),))
    )
    assert {document.path: document.label for document in got.documents} == {
        "card.md": "restricted",
        "heron.md": "confidential",
        "hr/plan.md": "restricted",
        "odd.md": "restricted",
        "open.md": "public",
        "said.md": "confidential",
    }
    assert got.report.found["dictionary:projects"] == 1
    assert got.report.found["unknown-label"] == 1


def test_a_secret_is_masked_and_raises_the_label(folder, ingest):
    token = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3gH6"
    (folder / "notes.md").write_text(PROSE + f"Use {token} for the mirror.\n")
    document = ingest().documents[0]
    assert token not in document.text
    assert "[secret:github-token]" in document.text
    assert (document.label, document.found) == ("restricted", {"secret:github-token": 1})


def test_the_licence_comes_from_the_nearest_licence_file(folder, ingest):
    (folder / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\n" + PROSE)
    (folder / "sub").mkdir()
    (folder / "sub" / "COPYING.txt").write_text("Permission is hereby granted, free of charge, to any person\n" + PROSE)
    (folder / "top.md").write_text(PROSE)
    (folder / "sub" / "below.md").write_text(PROSE)
    licences = {document.path: document.licence for document in ingest().documents}
    assert licences["top.md"] == "Apache-2.0"
    assert licences["sub/below.md"] == "MIT"


def test_excluded_files_are_counted_by_pattern(folder, ingest):
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.md").write_text(PROSE)
    (folder / "kept.md").write_text(PROSE)
    got = ingest()
    assert list(got.texts()) == ["kept.md"]
    assert got.report.excluded == {"__pycache__": 1}


def test_a_single_file_and_an_archive_are_sources_too(folder, ingest):
    (folder / "one.md").write_text(PROSE)
    with zipfile.ZipFile(folder / "pack.zip", "w") as archive:
        archive.writestr("inner/two.md", PROSE)
    sources = tuple(Source(name=name, path=str(folder / name)) for name in ("one.md", "pack.zip"))
    got = ingest(IngestParams(sources=sources, processes=1))
    assert [document.path for document in got.documents] == ["one.md", "pack.zip!/inner/two.md"]


def test_a_file_name_that_is_no_utf8_is_read(folder, ingest):
    with open(os.fsencode(folder) + b"/caf\xe9.md", "w") as file:
        file.write(PROSE)
    assert len(ingest().documents) == 1


def test_a_huge_single_line_is_set_aside_without_being_loaded(folder, ingest):
    with (folder / "line.txt").open("wb") as file:
        for _ in range(64):
            file.write(b"a" * (1 << 20))
    got = ingest(params_of(folder, memory_mb=64))
    assert got.reasons() == {"line.txt": "line-too-long"}


def test_a_large_text_is_split_at_line_ends(folder, ingest):
    (folder / "log.txt").write_text("".join(f"{number} {PROSE}" for number in range(400)))
    got = ingest(params_of(folder, limits=Limits(document_bytes=10_000)))
    assert len(got.documents) > 3
    assert got.documents[0].path == "log.txt#1"
    whole = "\n".join(document.text for document in got.documents)
    assert all(f"{number} The quick" in whole for number in range(400))


STUBBORN = """
import os, signal, time
SUFFIXES = (".stubborn",)
MEDIA_TYPE = "text/plain"
VERSION = "1"
def read(stream, path, limits):
    from tokenworks.line.ingest.reading import RawDocument
    what = stream.read().decode().split()[0]
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(3600)
    if what == "swell":
        bytearray(4 << 30)
    if what == "fail":
        raise RuntimeError("a bug in the reader")
    yield RawDocument(text="survived " + what)
"""


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package whose reader does what its files say: the way strangers' readers arrive."""
    site = tmp_path / "site"
    (site / "stubborn-1.0.dist-info").mkdir(parents=True)
    (site / "stubborn_reader.py").write_text(STUBBORN)
    (site / "stubborn-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: stubborn\nVersion: 1.0\n")
    (site / "stubborn-1.0.dist-info" / "entry_points.txt").write_text(
        "[tokenworks.line.ingest.readers]\nstubborn = stubborn_reader\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.usefixtures("stubborn")
def test_a_crash_a_hang_and_a_memory_hog_cost_their_own_file_only(folder, ingest):
    for number, what in enumerate(["fine", "crash", "fine", "hang", "fine", "swell", "fine", "fail", "fine"]):
        (folder / f"{number}.stubborn").write_text(f"{what} {number}")
    got = ingest(params_of(folder, memory_mb=512, limits=Limits(timeout_s=4)))
    assert got.reasons() == {
        "1.stubborn": "crashed",
        "3.stubborn": "timeout",
        "5.stubborn": "memory",
        "7.stubborn": "reader-error",
    }
    assert len(got.documents) == 5
    got.report.check()


RUN = """
import sys
from pathlib import Path
from tokenworks.core.stage import Bench
from tokenworks.line.ingest.params import IngestParams, Source
from tokenworks.line.ingest.stage import INGEST, fingerprint
from tokenworks.store.artifacts import open_artifacts
home, folder = Path(sys.argv[1]), sys.argv[2]
store = open_artifacts(str(home / "artifacts"), cache=home / "cache")
for name in ("scratch", "stage-cache"):
    (home / name).mkdir(parents=True, exist_ok=True)
params = IngestParams(sources=(Source(name="docs", path=folder),), processes=2)
outputs = INGEST.run({"listing": fingerprint(params)}, params, Bench(store, home / "scratch", home / "stage-cache"))
print({name: outputs[name] for name in ("documents", "set_aside", "provenance")})
"""


def test_a_run_killed_in_the_middle_resumes_and_ends_in_the_same_digests(folder, tmp_path):
    fill(folder, 600)

    def command(home: str) -> list[str]:
        return [sys.executable, "-c", RUN, str(tmp_path / home), str(folder)]

    undisturbed = subprocess.run(command("calm"), check=True, capture_output=True, text=True).stdout
    for delay in (0.4, 0.9, 1.4):
        process = subprocess.Popen(command("killed"), start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    resumed = subprocess.run(command("killed"), check=True, capture_output=True, text=True).stdout
    assert resumed == undisturbed


def test_no_worker_outlives_a_killed_parent(folder, tmp_path):
    fill(folder, 300)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path / "home"), str(folder)])
    children: set[int] = set()
    deadline = time.monotonic() + 30
    while not children and time.monotonic() < deadline:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        children = {int(pid) for pid in listed.read_text().split()} if listed.exists() else set()
    process.kill()
    process.wait()
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in children):
        time.sleep(0.05)
    assert children
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_a_damaged_cache_is_made_anew(folder, ingest, bench):
    fill(folder, 3)
    first = ingest()
    for path in bench.cache.iterdir():
        path.write_bytes(b"not a database, only some bytes" * 100)
    assert ingest().outputs["documents"] == first.outputs["documents"]


def test_progress_counts_files_up_to_the_total(folder, store, tmp_path):
    fill(folder, 12)
    heard: list[tuple[float, float | None]] = []

    def hear(done: float, total: float | None = None, *, unit: str = "", note: str = "") -> None:
        heard.append((done, total))

    (tmp_path / "s").mkdir()
    params = params_of(folder)
    INGEST.run({"listing": fingerprint(params)}, params, Bench(store, tmp_path / "s", tmp_path / "c", hear))
    assert heard[-1] == (12, 12)


def test_the_enterprise_and_format_packs_add_up(data_folder: Path, ingest: Callable[..., object], tmp_path: Path):
    sample = tmp_path / "sample"
    shutil.copytree(data_folder / "docs-formats" / "docling" / "docx", sample / "docx")
    shutil.copytree(data_folder / "docs-formats" / "docling" / "html", sample / "html")
    shutil.copytree(data_folder / "docs-formats" / "docling" / "pdf", sample / "pdf")
    shutil.copytree(data_folder / "docs-enterprise" / "pagerduty-postmortem", sample / "md")
    got = ingest(params_of(sample, processes=2))
    got.report.check()
    assert got.report.files.seen == sum(1 for path in sample.rglob("*") if path.is_file())
    assert set(got.report.set_aside) <= {"no-reader", "empty", "no-text"}
    assert got.report.documents.kept >= 60
