"""Verification: no entry before the last tree head can be changed, removed, added or moved unseen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.ledger import heads, segment
from tokenworks.ledger.merkle import leaf_hash, root_of
from tokenworks.ledger.reader import read
from tokenworks.ledger.verify import verify
from tokenworks.ledger.writer import Ledger

SMALL = 4096
Payloads = list[bytes]


@pytest.fixture
def log(tmp_path: Path, entry) -> Path:
    """A root with one writer of 60 entries over several segments."""
    with Ledger(tmp_path, "gateway", segment_bytes=SMALL) as ledger:
        for number in range(60):
            ledger.append(entry(number))
    return tmp_path


def _payloads(path: Path) -> Payloads:
    view = memoryview(path.read_bytes())
    first = int(path.stem)
    return [bytes(view[start + 1 : end]) for start, end in segment.scan(view, segment.HEADER_BYTES, first).leaves]


def _forge(path: Path, payloads: Payloads) -> None:
    """Rewrite a segment with right checksums and numbers, as somebody would who knows the format."""
    data, first = path.read_bytes(), int(path.stem)
    frames = b"".join(segment.frame(payload, first + n, first + n) for n, payload in enumerate(payloads))
    path.write_bytes((data[: segment.HEADER_BYTES] + frames).ljust(len(data), b"\0")[: len(data)])


def test_an_untouched_ledger_is_clean_and_its_root_is_that_of_the_rfc(log: Path) -> None:
    check = verify(log)
    assert check.ok
    assert (check.entries, check.writers) == (60, ("gateway",))
    leaves = [leaf_hash(msgspec.msgpack.encode(entry)) for _, entry in read(log)]
    assert check.roots == {"gateway": root_of(leaves).hex()}


def test_nothing_at_all_is_clean(tmp_path: Path) -> None:
    assert verify(tmp_path / "nowhere").ok


FORGERIES: dict[str, Callable[[Payloads], Payloads]] = {
    "changed": lambda old: [*old[:3], old[3].replace(b"ok", b"no"), *old[4:]],
    "deleted": lambda old: [*old[:3], *old[4:]],
    "deleted at the end": lambda old: old[:-1],
    "inserted": lambda old: [*old[:3], old[2], *old[3:]],
    "reordered": lambda old: [*old[:3], old[4], old[3], *old[5:]],
}


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("which", [0, 2, -1])
def test_a_forger_who_mends_the_checksums_is_found(log: Path, forgery: str, which: int) -> None:
    path = segment.segments(log / "gateway")[which]
    old = _payloads(path)
    new = FORGERIES[forgery](old)
    assert new != old
    _forge(path, new)
    problems = verify(log).problems
    assert problems
    assert any(path.name == problem.file or problem.index >= int(path.stem) for problem in problems)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), flip=st.integers(1, 255))
def test_any_byte_changed_anywhere_in_the_segments_is_found_and_located(
    log: Path, data: st.DataObject, flip: int
) -> None:
    path = data.draw(st.sampled_from(segment.segments(log / "gateway")))
    whole = path.read_bytes()
    end = segment.scan(memoryview(whole), segment.HEADER_BYTES, int(path.stem)).stop
    spot = data.draw(st.integers(0, end - 1))
    wounded = bytearray(whole)
    wounded[spot] ^= flip
    path.write_bytes(wounded)
    try:
        problem = verify(log).problems[0]
        assert problem.file == path.name
        if spot >= segment.HEADER_BYTES:
            assert problem.offset <= spot
            before = segment.scan(memoryview(whole), segment.HEADER_BYTES, int(path.stem)).leaves
            assert problem.index == int(path.stem) + sum(end <= spot for _, end in before)
            assert f"entry {problem.index}" in str(problem)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("which", [0, 2, -1])
def test_a_missing_segment_is_found(log: Path, which: int) -> None:
    segment.segments(log / "gateway")[which].unlink()
    assert any("missing" in problem.what for problem in verify(log).problems)


def test_a_writer_whose_segments_are_all_gone_is_found(log: Path) -> None:
    for path in segment.segments(log / "gateway"):
        path.unlink()
    assert "60 entries at the end are missing" in verify(log).problems[0].what


def test_a_segment_cut_short_is_found(log: Path) -> None:
    path = segment.segments(log / "gateway")[1]
    os.truncate(path, 2000)
    assert "truncated" in verify(log).problems[0].what


@pytest.mark.parametrize("wound", ["missing", "garbage", "forged"])
def test_a_tree_head_that_is_gone_or_wrong_is_found(log: Path, wound: str) -> None:
    path = log / "gateway" / heads.LATEST
    if wound == "missing":
        path.unlink()
    elif wound == "garbage":
        path.write_bytes(b"{")
    else:
        path.write_bytes(path.read_bytes().replace(b'"size":60', b'"size":61'))
    assert [problem.file for problem in verify(log).problems] == [heads.LATEST]


def test_what_an_intact_writer_wrote_is_vouched_for_beside_a_damaged_one(log: Path, entry) -> None:
    with Ledger(log, "other") as other:
        other.append(entry(0))
    path = segment.segments(log / "gateway")[0]
    _forge(path, _payloads(path)[:-1])
    check = verify(log)
    assert {problem.writer for problem in check.problems} == {"gateway"}
    assert list(check.roots) == ["other"]


def test_verification_may_run_beside_a_writer(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway", segment_bytes=SMALL) as ledger:
        for _ in range(20):
            futures = [ledger.submit(entry(number)) for number in range(40)]
            assert verify(tmp_path).problems == ()
            assert futures[-1].result().index > 0
