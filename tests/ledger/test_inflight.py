"""What a killed process had delivered of its streams is written down by the next one, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from operator import mul

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import StoreError
from tokenworks.core.usage import Usage
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.inflight import FREE, SLOT_BYTES, Inflight, Rates, settle_killed

KILLED = """
import os, signal, sys
from pathlib import Path
from tokenworks.core.usage import Usage
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.inflight import Inflight
inflight = Inflight(Path(sys.argv[1]), 4)
for number in range(3):
    common = {"endpoint": "completions", "outcome": "failed", "status": 500}
    entry = RequestEntry(at=float(number), request_id=f"req-{number}", **common)
    slot = inflight.begin(entry, (1000, 100, 3000 + number))
    for told in range(1, 8):
        slot.note(Usage(prompt_tokens=5, cached_tokens=2, completion_tokens=told + number))
    if number == 1:
        slot.end()
os.kill(os.getpid(), signal.SIGKILL)
"""


def entry(number: int) -> RequestEntry:
    return RequestEntry(at=1.0, request_id=f"req-{number}", endpoint="completions", outcome="failed", status=500)


def priced(entry: RequestEntry, rates: Rates) -> RequestEntry:
    used = (entry.prompt_tokens - entry.cached_tokens, entry.cached_tokens, entry.completion_tokens)
    return msgspec.structs.replace(entry, price_micro=sum(map(mul, used, rates)))


def settled(folder, known=lambda _: False) -> list[RequestEntry]:
    written: list[RequestEntry] = []
    settle_killed(folder, known, written.append, priced)
    return written


def test_what_a_killed_process_had_delivered_is_found_once(tmp_path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    found = settled(tmp_path)
    assert [(one.request_id, one.prompt_tokens, one.cached_tokens, one.completion_tokens) for one in found] == [
        ("req-0", 5, 2, 7),
        ("req-2", 5, 2, 9),
    ]
    assert [one.price_micro for one in found] == [3 * 1000 + 2 * 100 + 7 * 3000, 3 * 1000 + 2 * 100 + 9 * 3002]
    assert settled(tmp_path) == []


def test_an_entry_that_was_written_before_the_kill_is_not_written_again(tmp_path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    found = settled(tmp_path, known=lambda one: one.request_id == "req-0")
    assert [one.request_id for one in found] == ["req-2"]


def test_the_streams_of_a_process_that_lives_are_left_to_it(tmp_path) -> None:
    inflight = Inflight(tmp_path, 2)
    slot = inflight.begin(entry(0))
    assert slot is not None
    assert settled(tmp_path) == []
    slot.end()
    inflight.close()
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_written_down_is_there_for_the_next(tmp_path) -> None:
    inflight = Inflight(tmp_path, 2)
    slot = inflight.begin(entry(0))
    assert slot is not None
    slot.note(Usage(prompt_tokens=1, completion_tokens=2))
    inflight.close()
    assert [one.completion_tokens for one in settled(tmp_path)] == [2]


def test_more_streams_than_slots_and_names_beyond_all_measure_go_without(tmp_path) -> None:
    inflight = Inflight(tmp_path, 1)
    assert inflight.begin(msgspec.structs.replace(entry(0), model="x" * SLOT_BYTES)) is None
    assert inflight.begin(entry(0)) is not None
    assert inflight.begin(entry(1)) is None
    inflight.close()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**32 - 1)), max_size=40))
def test_whatever_begins_and_ends_the_slots_hold_those_under_way(tmp_path_factory, steps) -> None:
    folder = tmp_path_factory.mktemp("steps")
    inflight, slots, tokens = Inflight(folder, 6), {}, {}
    for number, count in steps:
        if number in slots and count % 3 == 0:
            slots.pop(number).end()
            tokens.pop(number)
            continue
        slots.setdefault(number, inflight.begin(entry(number)) if number not in slots else None)
        slots[number].note(Usage(completion_tokens=count))
        tokens[number] = count
    inflight.close()
    found = {one.request_id: one.completion_tokens for one in settled(folder)}
    assert found == {f"req-{number}": count for number, count in tokens.items()}


def test_no_room_for_the_file_is_told(tmp_path) -> None:
    with pytest.raises(StoreError, match="free"):
        Inflight(tmp_path, (os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize) // SLOT_BYTES * 4)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_before_rates_were_kept_is_settled_without_a_price(tmp_path) -> None:
    inflight = Inflight(tmp_path, 2)
    slot = inflight.begin(entry(0), FREE)
    assert slot is not None
    slot.note(Usage(prompt_tokens=3, completion_tokens=2))
    inflight.close()
    assert [(one.completion_tokens, one.price_micro) for one in settled(tmp_path)] == [(2, 0)]
