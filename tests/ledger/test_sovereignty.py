"""What left the site, folded from entries written by a real ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.conftest import MakeEntry
from tokenworks.core.errors import IntegrityError
from tokenworks.ledger.entries import RequestEntry, Transfer
from tokenworks.ledger.signing import open_key
from tokenworks.ledger.sovereignty import Sovereignty, sovereignty
from tokenworks.ledger.writer import Ledger

LOCAL = Transfer("route@1", "here", "", "internal", 200, 300)
FAR = Transfer("cloud", "eu-west", "far:443", "public", 1000, 2000)
OTHER = Transfer("other", "us-east", "away:443", "public", 10, 0)


def report(root: Path, *entries: RequestEntry, since: float = 0.0) -> Sovereignty:
    with Ledger(root, "gateway-0", segment_bytes=1 << 16) as ledger:
        for one in entries:
            ledger.append(one)
    return sovereignty(root, since=since, until=9e9)


def test_where_only_engines_here_were_asked_it_is_proven_that_nothing_left(tmp_path: Path, entry: MakeEntry) -> None:
    found = report(tmp_path, entry(0, transfers=(LOCAL,)), entry(1, transfers=()), entry(2, transfers=(LOCAL, LOCAL)))
    assert (found.nothing_left, found.left, found.unknown, found.reached_nobody) == (True, (), 0, 1)
    (flow,) = found.stayed
    assert (flow.requests, flow.attempts, flow.sent_bytes, flow.received_bytes) == (2, 3, 600, 900)
    (proof,) = found.proof
    assert (proof.writer, proof.first, proof.last, proof.entries) == ("gateway-0", 0, 2, 3)


def test_each_attempt_counts_where_it_went_and_the_tokens_where_the_last_one_did(
    tmp_path: Path, entry: MakeEntry
) -> None:
    found = report(tmp_path, entry(transfers=(OTHER, OTHER, FAR), prompt_tokens=5, completion_tokens=7))
    other, far = sorted(found.left, key=lambda flow: flow.sent_bytes)
    assert (other.destination, other.region, other.attempts, other.sent_bytes) == ("other", "us-east", 2, 20)
    assert (other.prompt_tokens, other.completion_tokens) == (0, 0)
    assert (far.address, far.sent_bytes, far.received_bytes) == ("far:443", 1000, 2000)
    assert (far.prompt_tokens, far.completion_tokens) == (5, 7)
    assert not found.nothing_left


def test_an_attempt_that_never_sent_a_byte_is_shown_and_nothing_left(tmp_path: Path, entry: MakeEntry) -> None:
    found = report(tmp_path, entry(outcome="failed", transfers=(Transfer("cloud", "eu", "far:1", "public", 0, 0),)))
    assert (len(found.left), found.nothing_left) == (1, True)


@pytest.mark.parametrize(
    ("engine", "version", "where"),
    [
        ("openvino", "route@1", "stayed_uncounted"),
        ("remote", "remote@0", "unknown"),
        ("", "remote@0", "unknown"),  # failed on the way: what it had sent nobody counted
        ("", "route@1", "reached_nobody"),
    ],
)
def test_entries_from_before_the_count_are_called_unknown_where_they_may_have_left(
    tmp_path: Path, entry: MakeEntry, engine: str, version: str, where: str
) -> None:
    found = report(tmp_path, entry(engine=engine, version=version))
    assert {name: getattr(found, name) for name in ("stayed_uncounted", "unknown", "reached_nobody")} == {
        name: int(name == where) for name in ("stayed_uncounted", "unknown", "reached_nobody")
    }
    assert found.nothing_left == (where != "unknown")
    assert found.unknown_at == (("gateway-0:0",) if where == "unknown" else ())


def test_only_what_came_since_is_counted_and_the_proof_names_which_entries(tmp_path: Path, entry: MakeEntry) -> None:
    entries = [entry(number, transfers=(FAR,)) for number in range(6)]
    found = report(tmp_path, *entries, since=1004.0)
    assert (found.requests, found.left[0].sent_bytes) == (2, 2000)
    assert (found.left[0].first_at, found.left[0].last_at) == (1004.0, 1005.0)
    assert (found.proof[0].first, found.proof[0].last, found.proof[0].entries) == (4, 5, 6)


def test_a_signed_log_is_proven_to_its_checkpoint(tmp_path: Path, entry: MakeEntry) -> None:
    key = open_key(tmp_path / "keys", tmp_path / "ledger")
    with Ledger(tmp_path / "ledger", "gateway-0", key=key) as ledger:
        ledger.append(entry(transfers=(LOCAL,)))
    found = sovereignty(tmp_path / "ledger", since=0, until=9e9, key=key.public)
    assert found.proof[0].signed == 1


def test_nothing_is_said_from_a_ledger_that_was_changed(tmp_path: Path, entry: MakeEntry) -> None:
    report(tmp_path, entry(transfers=(FAR,)))
    (path,) = (tmp_path / "gateway-0").glob("*.seg")
    data = path.read_bytes()
    assert data.count(b"eu-west") == 1
    path.write_bytes(data.replace(b"eu-west", b"here\xa0\xa0\xa0"))
    with pytest.raises(IntegrityError):
        sovereignty(tmp_path, since=0, until=9e9)


def test_a_home_without_requests_is_no_error(tmp_path: Path) -> None:
    found = sovereignty(tmp_path / "ledger", since=0, until=9e9)
    assert (found.requests, found.nothing_left, found.proof) == (0, True, ())


TRANSFERS = st.builds(
    Transfer,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["here", "eu", "us"]),
    st.sampled_from(["", "x:1"]),
    st.sampled_from(["public", "internal"]),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(TRANSFERS, max_size=4), max_size=12))
def test_no_byte_is_lost_or_counted_twice(tmp_path_factory: pytest.TempPathFactory, many: list[list[Transfer]]) -> None:
    root = tmp_path_factory.mktemp("ledger")
    entries = [
        RequestEntry(
            at=float(number), request_id=f"r{number}", endpoint="c", outcome="ok", status=200, prompt_tokens=number,
            transfers=tuple(transfers),
        )
        for number, transfers in enumerate(many)
    ]  # fmt: skip
    found = report(root, *entries)
    flows = [*found.left, *found.stayed]
    assert sum(flow.sent_bytes for flow in flows) == sum(one.sent_bytes for each in many for one in each)
    assert sum(flow.received_bytes for flow in flows) == sum(one.received_bytes for each in many for one in each)
    assert sum(flow.prompt_tokens for flow in flows) == sum(number for number, each in enumerate(many) if each)
    assert all(flow.region != "here" for flow in found.left)


def test_a_writer_with_nothing_since_then_is_verified_all_the_same(tmp_path: Path, entry: MakeEntry) -> None:
    found = report(tmp_path, entry(transfers=(FAR,)), since=5000.0)
    assert (found.nothing_left, found.requests) == (True, 0)
    assert [(one.writer, one.first, one.entries) for one in found.proof] == [("gateway-0", None, 1)]
    (path,) = (tmp_path / "gateway-0").glob("*.seg")
    path.unlink()
    with pytest.raises(IntegrityError, match="nothing can be proven"):
        sovereignty(tmp_path, since=5000.0, until=9e9)
