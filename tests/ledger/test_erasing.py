"""Texts that were erased are gone from every byte of the disk, beside writers and readers, and after kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import IntegrityError
from tokenworks.ledger.bodies import Bodies


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_an_erased_request_is_in_no_byte_of_any_file(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies:
        bodies.put("req-1", b"her secret", b"short")
        bodies.put("req-1", b"her secret again", b"")  # replaced the first, which is still in the file
        bodies.put("req-2", b"his words", b"kept")
        bodies.put_correction("fb-1", "the right secret")
        bodies.put_correction("fb-1.comment", "a secret comment")
        assert bodies.erase_requests(["req-1"]) == 2
        assert bodies.erase_corrections(["fb-1"]) == 2
        assert bodies.get("req-1") is None
        assert bodies.get_correction("fb-1") is None
        assert bodies.get("req-2") == (b"his words", b"kept")
        assert b"secret" not in everything(tmp_path)
    with Bodies(tmp_path) as bodies:
        assert (bodies.is_erased("req-1"), bodies.is_erased("req-2")) == (True, False)
        assert bodies.get_many(["req-1", "req-2"]) == {"req-2": (b"his words", b"kept")}
        assert bodies.erase_requests(["req-1"]) == 0


def test_a_request_whose_texts_were_never_kept_is_known_as_erased(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies:
        assert bodies.erase_requests(["req-9"]) == 0
    with Bodies(tmp_path) as bodies:
        assert bodies.is_erased("req-9")
        size = len(everything(tmp_path))
        bodies.erase_requests(["req-9"])
        assert len(everything(tmp_path)) == size


TEXTS = st.dictionaries(st.text(max_size=6), st.tuples(st.binary(max_size=500), st.binary(max_size=6000)), max_size=12)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS, data=st.data())
def test_others_keep_every_text_whatever_is_erased(
    tmp_path_factory: pytest.TempPathFactory, texts: dict[str, tuple[bytes, bytes]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("bodies")
    gone = set(data.draw(st.lists(st.sampled_from(sorted(texts)), unique=True))) if texts else set()
    with Bodies(folder, file_bytes=3000) as bodies:
        for key, (prompt, answer) in texts.items():
            bodies.put(key, prompt, answer)
        bodies.erase_requests(gone)
        bodies.put("later", b"p", b"a")
        left = {key: pair for key, pair in texts.items() if key not in gone} | {"later": (b"p", b"a")}
        assert bodies.get_many([*texts, "later"]) == left
    for index in folder.glob("*.index"):
        index.unlink()  # made again from the file alone
    with Bodies(folder) as bodies:
        assert bodies.get_many([*texts, "later"]) == left
        assert all(bodies.is_erased(key) for key in gone)


def test_threads_that_put_and_get_never_notice_an_erasure(tmp_path: Path) -> None:
    with Bodies(tmp_path, file_bytes=200_000) as writer, Bodies(tmp_path) as eraser, Bodies(tmp_path) as reader:
        for number in range(300):
            writer.put(f"old-{number}", os.urandom(3000), b"x" * number)

        def put(number: int) -> None:
            writer.put(f"new-{number}", os.urandom(3000), b"%d" % number)

        def get(number: int) -> None:
            found = reader.get(f"old-{number}")
            assert found is None or found[1] == b"x" * number

        with ThreadPoolExecutor(4) as threads:
            puts = [threads.submit(put, number) for number in range(300)]
            gets = [threads.submit(get, number) for number in range(300)]
            erased = sum(eraser.erase_requests([f"old-{n}" for n in range(k, 300, 10)]) for k in range(10))
            for each in (*puts, *gets):
                each.result()
        assert erased == 300
        assert all(reader.get(f"old-{number}") is None for number in range(300))
        assert all(writer.get(f"new-{number}")[1] == b"%d" % number for number in range(300))  # type: ignore[index]


WRITE = """
    import sys
    from pathlib import Path
    from tokenworks.ledger.bodies import Bodies
    bodies = Bodies(Path(sys.argv[1]), file_bytes=100_000)
    for number in range(10**9):
        bodies.put(f"{sys.argv[2]}-{number}", b"hers " * (number % 500), str(number).encode())
        print(number, flush=True)
"""
ERASE = """
    import sys
    from pathlib import Path
    from tokenworks.ledger.bodies import Bodies
    bodies = Bodies(Path(sys.argv[1]))
    print("begun", flush=True)
    for number in range(int(sys.argv[2])):
        bodies.erase_requests([f"a-{number}"])
"""


def begin(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_killed_erasure_is_finished_by_the_next_beside_a_writing_process(tmp_path: Path) -> None:
    writer = begin(WRITE, str(tmp_path), "a")
    assert writer.stdout is not None
    for _ in range(800):
        last = int(writer.stdout.readline())
    for delay_s in (0.0, 0.01, 0.03, 1.0):
        eraser = begin(ERASE, str(tmp_path), str(last + 1))
        assert eraser.stdout is not None
        eraser.stdout.readline()
        time.sleep(delay_s)
        kill(eraser)
    kill(writer)
    with Bodies(tmp_path) as bodies:
        texts = [bodies.get(f"a-{number}") for number in range(last + 1)]
        assert all(one is None or one == (b"hers " * (n % 500), b"%d" % n) for n, one in enumerate(texts))
        assert sum(one is None for one in texts) > 0
        bodies.erase_requests(f"a-{number}" for number in range(last + 1))
        assert bodies.get_many(f"a-{number}" for number in range(last + 1)) == {}


def test_a_place_known_to_be_erased_is_zeroed_again(tmp_path: Path) -> None:
    """A kill after the head was written and before the zeros were."""
    with Bodies(tmp_path) as bodies:
        bodies.put("req-1", b"secret", b"words")
        bodies.erase_requests(["req-1"])
        [path] = tmp_path.glob("*.bodies")
        data = path.read_bytes()
        path.write_bytes(data[:-12] + b"secret words")
        bodies.erase_requests(["req-1"])
        assert path.read_bytes() == data


def test_damage_that_hides_a_text_is_told_not_passed_over(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies:
        bodies.put("req-1", b"prompt", b"answer")
        bodies.put("req-2", b"her", b"text")
    [path] = tmp_path.glob("*.bodies")
    path.write_bytes(path.read_bytes().replace(b"answer", b"forged"))
    with pytest.raises(IntegrityError, match=r"damaged at byte 0.*backup, then erase again"):
        Bodies(tmp_path).erase_requests(["req-2"])


def test_old_files_are_dropped_whole_and_growing_ones_of_others_are_not(tmp_path: Path) -> None:
    with Bodies(tmp_path) as old:
        old.put("req-1", b"p", b"a")
        old.put("req-2", b"p", b"a")
        old.erase_requests(["req-2"])
    for path in tmp_path.iterdir():
        os.utime(path, (1000, 1000))
    (tmp_path / "b-orphan.index").write_bytes(b"")
    with Bodies(tmp_path) as other, Bodies(tmp_path) as bodies:
        other.put("req-3", b"p", b"a")
        os.utime(other._growing[""].path, (1000, 1000))
        assert bodies.count_older(2000) == 3  # what another process has open included
        assert bodies.drop_older(2000) == 2
        assert (bodies.get("req-1"), bodies.get("req-3")) == (None, (b"p", b"a"))
        assert other.drop_older(2000) == 1
        assert list(tmp_path.iterdir()) == []
        other.put("req-4", b"p", b"a")
        assert bodies.get("req-4") == (b"p", b"a")


def test_erasing_does_not_make_a_file_look_younger(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies:
        bodies.put("req-1", b"p", b"a")
    [path] = tmp_path.glob("*.bodies")
    os.utime(path, (1000, 1000))
    with Bodies(tmp_path) as bodies:
        bodies.erase_requests(["req-1"])
        assert path.stat().st_mtime == 1000


def test_a_file_takes_the_texts_of_one_day_only(tmp_path: Path) -> None:
    with Bodies(tmp_path, file_s=0.0) as bodies:
        for number in range(3):
            bodies.put(f"req-{number}", b"p", b"a")
    assert len(list(tmp_path.glob("*.bodies"))) == 3
