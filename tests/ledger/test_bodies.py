"""Texts beside the log: what went in comes out, after kills and rotations, and beside other processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import IntegrityError, StoreError
from tokenworks.ledger.bodies import Bodies


def test_prompt_answer_and_correction_come_back(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies:
        bodies.put("req-1", b"prompt", b"answer " * 1000)
        bodies.put_correction("fb-1", "größer")
        assert bodies.get("req-1") == (b"prompt", b"answer " * 1000)
        assert bodies.get_correction("fb-1") == "größer"
        assert bodies.get("fb-1") is None
        assert bodies.get_correction("req-1") is None
    with Bodies(tmp_path) as bodies:
        assert bodies.get("req-1") == (b"prompt", b"answer " * 1000)
        assert bodies.get_correction("fb-1") == "größer"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.dictionaries(st.text(max_size=8), st.tuples(st.binary(max_size=600), st.binary(max_size=600))))
def test_any_texts_survive_rotation_and_reopening(
    tmp_path_factory: pytest.TempPathFactory, texts: dict[str, tuple[bytes, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("bodies")
    with Bodies(folder, file_bytes=1000) as bodies:
        for key, (prompt, answer) in texts.items():
            bodies.put(key, prompt, answer)
        assert {key: bodies.get(key) for key in texts} == texts
    with Bodies(folder) as bodies:
        assert {key: bodies.get(key) for key in texts} == texts
        assert bodies.get("never stored") is None


def test_the_last_text_under_an_id_counts(tmp_path: Path) -> None:
    for number in range(3):
        with Bodies(tmp_path) as bodies:
            bodies.put("req", b"", b"%d" % number)
            bodies.put("req", b"", b"%d again" % number)
            assert bodies.get("req") == (b"", b"%d again" % number)
    assert Bodies(tmp_path).get("req") == (b"", b"2 again")


def test_repetitive_texts_take_little_room(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies:
        bodies.put("req", b"the same words " * 10_000, b"")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 5000


def test_many_requests_make_few_files(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies:
        for number in range(2000):
            bodies.put(f"req-{number}", b"p", b"a")
    assert len(list(tmp_path.iterdir())) == 2


def test_the_index_can_be_lost(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies:
        for number in range(100):
            bodies.put(f"req-{number}", b"p", b"%d" % number)
    [index] = tmp_path.glob("*.index")
    before = index.read_bytes()
    index.unlink()
    with Bodies(tmp_path) as bodies:
        assert bodies.get("req-42") == (b"p", b"42")
    assert index.read_bytes() == before


def test_a_reader_sees_what_another_process_has_just_written(tmp_path: Path) -> None:
    with Bodies(tmp_path) as writer:
        writer.put("req-1", b"p", b"1")
        reader = Bodies(tmp_path)
        assert reader.get("req-1") == (b"p", b"1")
        assert reader.get("req-2") is None
        writer.put("req-2", b"p", b"2")
        assert reader.get("req-2") == (b"p", b"2")
    assert reader.get("req-1") == (b"p", b"1")


def test_a_reader_leaves_no_file_behind(tmp_path: Path) -> None:
    Bodies(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


WRITE = """
    import sys
    from pathlib import Path
    from tokenworks.ledger.bodies import Bodies
    bodies = Bodies(Path(sys.argv[1]))
    number = 0
    while True:
        bodies.put(f"req-{number}", b"prompt " * 50, str(number).encode())
        print(number, flush=True)
        number += 1
"""


def test_a_killed_writer_loses_nothing_that_it_had_put(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WRITE), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(300):
        last = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    [path] = tmp_path.glob("*.bodies")
    with path.open("ab") as file:
        file.write(b"half a record")
    with Bodies(tmp_path) as bodies:
        assert [bodies.get(f"req-{n}") for n in range(last + 1)] == [
            (b"prompt " * 50, b"%d" % n) for n in range(last + 1)
        ]


def test_a_damaged_text_is_refused(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies:
        bodies.put("req-1", b"prompt", b"answer")
    [path] = tmp_path.glob("*.bodies")
    path.write_bytes(path.read_bytes().replace(b"answer", b"forged"))
    with pytest.raises(IntegrityError, match=f"{path}.*byte 0.*backup"):
        Bodies(tmp_path).get("req-1")


FULL = """
    import resource, signal, sys
    from pathlib import Path
    from tokenworks.core.errors import StoreError
    from tokenworks.ledger.bodies import Bodies
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    bodies = Bodies(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    kept = 0
    try:
        while True:
            bodies.put(f"req-{kept}", b"p" * 50, b"a" * 50)
            kept += 1
    except StoreError as error:
        print(kept, error)
"""


def test_a_full_disk_says_so_and_keeps_whole_texts_only(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path)]
    kept, message = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(" ", 1)
    assert str(tmp_path) in message
    with Bodies(tmp_path) as bodies:
        found = [bodies.get(f"req-{n}") is not None for n in range(int(kept) + 1)]
    assert found == [True] * int(kept) + [False]


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="file"):
        Bodies(tmp_path / "file")
