"""Labels, ids, atomic writes and documents on disk."""

import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.clock import iso
from tokenworks.core.corpus import read_parts, write_parts
from tokenworks.core.document import Document
from tokenworks.core.errors import ConfigError
from tokenworks.core.files import locked, write_atomic
from tokenworks.core.ids import content_id, new_id, pseudonym, sha256_hex
from tokenworks.core.label import Label, highest


@given(st.lists(st.sampled_from(list(Label)), min_size=1))
def test_the_highest_label_wins_in_any_order(labels):
    assert highest(labels) == highest(reversed(labels)) == max(labels)


def test_a_label_is_read_back_from_its_name_and_a_wrong_one_names_the_four():
    assert [Label.parse(str(label)) for label in Label] == list(Label)
    with pytest.raises(ConfigError, match="public < internal < confidential < restricted"):
        Label.parse("secret")


def test_later_ids_sort_later():
    first = new_id("req")
    time.sleep(0.002)
    assert first < new_id("req")
    assert len({new_id("req") for _ in range(1000)}) == 1000


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_equal_content_has_one_id_whatever_the_order(table):
    assert content_id(table) == content_id(dict(reversed(table.items())))


def test_known_hash_and_known_instant():
    assert sha256_hex(b"abc").startswith("ba7816bf")
    assert iso(0.25) == "1970-01-01T00:00:00.250Z"


def test_a_killed_write_leaves_the_old_bytes(tmp_path):
    target = tmp_path / "value"
    write_atomic(target, b"old" * 1000)
    script = (
        "import sys, pathlib\nfrom tokenworks.core.files import write_atomic\nprint('go', flush=True)\n"
        "while True:\n    for data in (b'new', b'old'):\n        write_atomic(pathlib.Path(sys.argv[1]), data * 1000)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert target.read_bytes() in (b"old" * 1000, b"new" * 1000)


def test_a_failed_write_leaves_no_litter(tmp_path):
    with pytest.raises(TypeError):
        write_atomic(tmp_path / "x", "not bytes")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_let_go_when_its_holder_dies(tmp_path):
    script = (
        "import sys, pathlib, time\nfrom tokenworks.core.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "lock")], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        holder.kill()
    with locked(tmp_path / "lock"):
        pass


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(st.lists(texts, max_size=20), st.integers(50, 2000))
def test_documents_come_back_as_written_whatever_the_size_of_parts(tmp_path_factory, texts, part_bytes):
    folder = tmp_path_factory.mktemp("parts")
    documents = [
        Document(path=f"{n}.md", source="s", sha256=sha256_hex(text.encode()), media_type="text/plain", text=text)
        for n, text in enumerate(texts)
    ]
    assert write_parts(folder, documents, part_bytes=part_bytes) == len(documents)
    assert list(read_parts(folder)) == documents


def test_a_pseudonym_is_stable_within_a_tenant_and_differs_between_tenants():
    assert pseudonym("a", "kim") == pseudonym("a", "kim") != pseudonym("b", "kim")
    assert (len(pseudonym("a", "kim")), pseudonym("a", "")) == (16, "")
