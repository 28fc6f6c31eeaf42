"""Writing: durable when told so, in order, one writer for a name, and nothing lost that was acknowledged."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import msgspec
import pytest

from small_disk import mounted, unmount
from tokenworks.core.errors import ConflictError, IntegrityError, StoreError
from tokenworks.ledger import heads, segment
from tokenworks.ledger.position import Position
from tokenworks.ledger.reader import read
from tokenworks.ledger.verify import verify
from tokenworks.ledger.writer import Ledger

SMALL = 4096


def _ids(root: Path) -> list[str]:
    return [entry.request_id for _, entry in read(root)]


def test_an_entry_is_there_once_it_is_acknowledged(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway") as ledger:
        assert ledger.append(entry(0)) == Position("gateway", 0)
        assert ledger.append(entry(1)) == Position("gateway", 1)
        assert [found for _, found in read(tmp_path)] == [entry(0), entry(1)]
        assert ledger.size == 2


def test_threads_may_submit_at_once_and_each_gets_its_own_place(tmp_path: Path, entry) -> None:
    places: dict[str, int] = {}
    with Ledger(tmp_path, "gateway") as ledger:

        def work(lane: int) -> None:
            futures = {(name := f"{lane}-{n}"): ledger.submit(entry(n, request_id=name)) for n in range(50)}
            places.update({name: future.result().index for name, future in futures.items()})

        threads = [threading.Thread(target=work, args=(lane,)) for lane in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {found.request_id: place.index for place, found in read(tmp_path)} == places
    assert sorted(places.values()) == list(range(200))


async def test_coroutines_that_wait_together_are_all_told(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway") as ledger:
        places = await asyncio.gather(*[ledger.record(entry(n)) for n in range(300)])
    assert [place.index for place in places] == list(range(300))
    assert _ids(tmp_path) == [f"req-{n}" for n in range(300)]


async def test_a_cancelled_wait_harms_nobody_else(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway") as ledger:
        impatient = asyncio.ensure_future(ledger.record(entry(0)))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await ledger.record(entry(1))).index == 1
    assert len(_ids(tmp_path)) == 2


def test_the_log_goes_on_over_many_segments_and_reopenings(tmp_path: Path, entry) -> None:
    for start in range(0, 120, 30):
        with Ledger(tmp_path, "gateway", segment_bytes=SMALL) as ledger:
            for number in range(start, start + 30):
                assert ledger.append(entry(number)).index == number
    assert len(segment.segments(tmp_path / "gateway")) > 4
    assert _ids(tmp_path) == [f"req-{n}" for n in range(120)]
    assert verify(tmp_path).problems == ()


def test_a_second_process_cannot_take_the_same_name(tmp_path: Path, entry) -> None:
    code = "import sys; from pathlib import Path; from tokenworks.ledger.writer import Ledger; "
    code += "Ledger(Path(sys.argv[1]), 'gateway')"
    with Ledger(tmp_path, "gateway"):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
        assert "ConflictError" in done.stderr
        assert "another writer name" in done.stderr
        with pytest.raises(ConflictError), Ledger(tmp_path, "gateway"):
            pass
        with Ledger(tmp_path, "other") as other:
            other.append(entry(0))
    with Ledger(tmp_path, "gateway") as again:
        again.append(entry(1))


def test_what_comes_after_closing_is_refused(tmp_path: Path, entry) -> None:
    ledger = Ledger(tmp_path, "gateway")
    future = ledger.submit(entry(0))
    ledger.close()
    ledger.close()
    assert future.result().index == 0
    with pytest.raises(StoreError, match="closed"):
        ledger.append(entry(1))


def test_an_entry_too_large_for_a_log_of_facts_is_refused(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway", segment_bytes=SMALL) as ledger:
        with pytest.raises(StoreError, match="beside the log"):
            ledger.append(entry(0, error="x" * SMALL))
        ledger.append(entry(1, error="x" * 3000))
    assert verify(tmp_path).entries == 1


def test_the_tree_head_follows_within_a_second_and_at_closing(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway") as ledger:
        ledger.append(entry(0))
        deadline = time.monotonic() + 30
        while heads.read_head(tmp_path / "gateway" / heads.LATEST).size < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert heads.read_head(tmp_path / "gateway" / heads.LATEST).size == 1
        ledger.append(entry(1))
    assert heads.read_head(tmp_path / "gateway" / heads.LATEST).size == 2


class BackwardsClock:
    """A machine whose wall clock is set back again and again."""

    def __init__(self) -> None:
        self.wall = 2_000_000_000.0

    def now(self) -> float:
        self.wall -= 3600
        return self.wall

    def monotonic(self) -> float:
        return time.monotonic()


def test_a_clock_going_backwards_changes_no_order(tmp_path: Path, entry) -> None:
    clock = BackwardsClock()
    for _ in range(3):
        with Ledger(tmp_path, "gateway", clock=clock, segment_bytes=SMALL) as ledger:
            for _ in range(20):
                ledger.append(entry(ledger.size, at=clock.now()))
    assert _ids(tmp_path) == [f"req-{n}" for n in range(60)]
    assert verify(tmp_path).ok


WRITE = """
    import asyncio, sys
    from pathlib import Path
    from tokenworks.ledger.entries import RequestEntry
    from tokenworks.ledger.writer import Ledger

    async def lane(ledger, lane):
        number = 0
        while True:
            name = f"{sys.argv[2]}-{lane}-{number}"
            await ledger.record(RequestEntry(at=0.0, request_id=name, endpoint="e", outcome="ok", status=200))
            print(name, flush=True)
            number += 1

    async def main():
        ledger = Ledger(Path(sys.argv[1]), "gateway", segment_bytes=16384)
        await asyncio.gather(*[lane(ledger, n) for n in range(16)])

    asyncio.run(main())
"""


def test_a_killed_writer_keeps_every_entry_that_it_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(11)
    acknowledged: list[str] = []
    for round_ in range(6):
        command = [sys.executable, "-c", textwrap.dedent(WRITE), str(tmp_path), str(round_)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        acknowledged += [process.stdout.readline().strip() for _ in range(rng.randrange(1, 1500))]
        os.kill(process.pid, signal.SIGKILL)
        whole, _, _ = process.stdout.read().rpartition("\n")  # the last line may have been cut by the kill
        acknowledged += whole.split("\n") if whole else []
        process.wait()
        process.stdout.close()
    with Ledger(tmp_path, "gateway"):
        pass
    kept = _ids(tmp_path)
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept))
    assert verify(tmp_path).problems == ()


def _tear(path: Path, payloads: list[bytes], number: int, keep: int) -> None:
    """Write what a crash leaves of a batch of which only the first `keep` bytes reached the disk."""
    data = path.read_bytes()
    end = segment.scan(memoryview(data), segment.HEADER_BYTES, 0).stop
    batch = b"".join(segment.frame(payload, number + n, number) for n, payload in enumerate(payloads))
    with path.open("r+b") as file:
        file.seek(end)
        file.write(batch[:keep])


@pytest.mark.parametrize(("keep", "whole"), [(1, 0), (10, 0), (30, 0), (56, 0), (57, 1), (95, 1)])
def test_a_torn_tail_is_cut_off_and_the_log_goes_on(tmp_path: Path, entry, keep: int, whole: int) -> None:
    with Ledger(tmp_path, "gateway") as ledger:
        for number in range(5):
            ledger.append(entry(number))
    # `keep` is in 57ths of the first frame: a whole one of the unfinished batch stays, nobody was told either way.
    unfinished = [msgspec.msgpack.encode(entry(5, request_id="x" * 9)), msgspec.msgpack.encode(entry(6))]
    first = segment.FRAME.size + len(unfinished[0])
    _tear(tmp_path / "gateway" / segment.segment_name(0), unfinished, 5, keep * first // 57)
    assert len(_ids(tmp_path)) == 5 + whole
    with Ledger(tmp_path, "gateway") as ledger:
        assert ledger.append(entry(7)).index == 5 + whole
    assert len(_ids(tmp_path)) == 6 + whole
    assert verify(tmp_path).ok


def test_damage_that_no_crash_explains_is_not_written_over(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway") as ledger:
        for number in range(5):
            ledger.append(entry(number))
    folder = tmp_path / "gateway"
    path = folder / segment.segment_name(0)
    empty = heads.tree_head(heads.Frontier(), segment=0, offset=segment.HEADER_BYTES, at=0.0)
    heads.write_latest(folder, empty)  # as if the machine had stopped before the first second was over
    data = bytearray(path.read_bytes())
    data[segment.HEADER_BYTES + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"damaged at byte 64, entry 0.*tokenworks ledger verify"):
        Ledger(tmp_path, "gateway")
    assert path.read_bytes() == bytes(data)


@pytest.mark.parametrize("lost", [heads.LATEST, segment.segment_name(0), "both segments", "cut"])
def test_missing_files_are_named_rather_than_begun_anew(tmp_path: Path, entry, lost: str) -> None:
    with Ledger(tmp_path, "gateway", segment_bytes=SMALL) as ledger:
        for number in range(40):
            ledger.append(entry(number))
    folder = tmp_path / "gateway"
    if lost == "both segments":
        for path in segment.segments(folder):
            path.unlink()
    elif lost == "cut":
        os.truncate(segment.segments(folder)[-1], 1000)
    elif lost == heads.LATEST:
        (folder / lost).unlink()
    else:
        for path in segment.segments(folder)[1:]:
            path.unlink()
    with pytest.raises(IntegrityError, match="gateway"):
        Ledger(tmp_path, "gateway")
    assert not verify(tmp_path).ok


FULL = """
    import asyncio, resource, signal, sys
    from pathlib import Path
    from tokenworks.core.errors import StoreError
    from tokenworks.ledger.entries import RequestEntry
    from tokenworks.ledger.writer import Ledger

    def entry(number):
        return RequestEntry(at=0.0, request_id=str(number), endpoint="e", outcome="ok", status=200)

    async def main():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        ledger = Ledger(Path(sys.argv[1]), "gateway", segment_bytes=8192)
        kept = [await ledger.record(entry(n)) for n in range(10)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))  # no new segment fits
        results = await asyncio.gather(*[ledger.record(entry(n)) for n in range(10, 300)], return_exceptions=True)
        failed = [result for result in results if isinstance(result, StoreError)]
        print(len(kept) + len(results) - len(failed), len(failed), failed[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if sys.argv[2] == "recover":
            print((await ledger.record(entry(1000))).index)
        ledger.close()

    asyncio.run(main())
"""


def _run(code: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_full_disk_reaches_every_waiter_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    [line] = _run(FULL, str(tmp_path), "stop")
    kept, failed, message = line.split(" ", 2)
    assert int(failed) > 0
    assert str(tmp_path / "gateway") in message
    assert "not recorded" in message
    check = verify(tmp_path)
    assert check.problems == ()
    assert check.entries == int(kept)
    with Ledger(tmp_path, "gateway") as ledger:
        assert ledger.size == int(kept)


def test_every_waiter_beyond_a_full_disk_is_told_on_a_real_small_file_system(tmp_path: Path, entry) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if not mounted(place, "200k"):
        pytest.skip("a file system of a fixed size needs the right to mount")
    try:
        ledger = Ledger(place, "gateway", segment_bytes=64 << 10)
        futures = [ledger.submit(entry(number)) for number in range(3000)]
        errors = [future.exception() for future in futures]
        kept = errors.count(None)  # what came after the first refusal and was small enough is kept too
        assert 0 < kept < len(errors)
        assert all(isinstance(error, StoreError) for error in errors if error is not None)
        (place / "gateway" / segment.SPARE).unlink(missing_ok=True)
        assert verify(place).entries == kept
    finally:
        unmount(place)


def test_a_log_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "gateway").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="gateway"):
        Ledger(tmp_path, "gateway")
