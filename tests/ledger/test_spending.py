"""What was spent is a view of the log: however it is made, it says the same."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.spending import Spending, Spent, charged, day_of, load_by_writer, load_spending
from tokenworks.ledger.writer import Ledger

NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC
DAY_S = 86_400.0


def request(number: int, at: float = NOON, **changes: object) -> RequestEntry:
    common = {
        "endpoint": "completions",
        "outcome": "ok",
        "status": 200,
        "tenant": "acme",
        "key_id": "tw-a",
        "model": "m",
    }
    return RequestEntry(at=at, request_id=f"req-{number:08}", **{**common, "prompt_tokens": 3, **changes})


async def write(root: Path, entries: list[RequestEntry]) -> None:
    ledger = Ledger(root, "gateway", segment_bytes=1 << 16)
    for entry in entries:
        await ledger.record(entry)
    ledger.close()


async def test_the_view_made_anew_and_the_view_taken_on_agree(tmp_path):
    view = tmp_path / "views" / "spending.json"
    await write(tmp_path / "ledger", [request(n) for n in range(5)])
    assert load_spending(tmp_path / "ledger", view).total("2026-11-21", tenant="acme") == 15
    await write(tmp_path / "ledger", [request(n, completion_tokens=2) for n in range(5, 8)])
    taken_on = load_spending(tmp_path / "ledger", view)
    made_anew = load_spending(tmp_path / "ledger", tmp_path / "other.json")
    assert taken_on.rows() == made_anew.rows()
    assert taken_on.total("2026-11", tenant="acme") == 30


async def test_a_view_that_cannot_be_read_is_made_anew(tmp_path):
    view = tmp_path / "spending.json"
    await write(tmp_path / "ledger", [request(1)])
    view.write_bytes(b'{"places": {"gateway": 0}, "rows": 7}')
    assert load_spending(tmp_path / "ledger", view).total("2026-11-21") == 3


async def test_a_view_from_before_there_were_projects_is_made_anew(tmp_path):
    view = tmp_path / "spending.json"
    await write(tmp_path / "ledger", [request(1, project="web")])
    view.write_bytes(b'{"places": {"gateway": 0}, "rows": [[["2026-11-21", "acme", "tw-a", "m"], [3, 0]]]}')
    assert load_spending(tmp_path / "ledger", view).total("2026-11-21", project="web") == 3


async def test_what_a_grant_came_to_is_folded_the_same_from_the_log_and_from_a_view(tmp_path):
    root, view, by_writer = tmp_path / "ledger", tmp_path / "spending.json", tmp_path / "by-writer.json"
    of = {"grant": "tw-one", "engine": "e", "price_micro": 7}
    await write(root, [request(n, **of) for n in range(3)] + [request(3, engine="e"), request(4, status=429, **of)])
    assert load_spending(root, view).of_grant("tw-one") == Spent(12, 28, 4)
    assert load_by_writer(root, by_writer)["gateway"].of_grant("tw-one") == Spent(12, 28, 4)
    await write(root, [request(5, NOON + 40 * DAY_S, **of)])
    taken_on, made_anew = load_spending(root, view), load_spending(root, tmp_path / "other.json")
    assert taken_on.of_grant("tw-one") == made_anew.of_grant("tw-one") == Spent(15, 35, 5)
    assert load_by_writer(root, by_writer)["gateway"].of_grant("tw-one") == Spent(15, 35, 5)
    assert taken_on.of_grant("tw-two") == Spent()


async def test_a_view_from_before_grants_were_summed_is_made_anew(tmp_path):
    view, by_writer = tmp_path / "spending.json", tmp_path / "by-writer.json"
    await write(tmp_path / "ledger", [request(1, grant="tw-one", engine="e")])
    rows = b'[[["2026-11-21", "acme", "tw-a", "m", ""], [3, 0]]]'
    view.write_bytes(b'{"places": {"gateway": 0}, "rows": ' + rows + b"}")
    by_writer.write_bytes(b'{"gateway": {"place": 0, "rows": ' + rows + b"}}")
    assert load_spending(tmp_path / "ledger", view).of_grant("tw-one") == Spent(3, 0, 1)
    assert load_by_writer(tmp_path / "ledger", by_writer)["gateway"].of_grant("tw-one") == Spent(3, 0, 1)


def test_a_grant_is_remembered_from_its_first_day_to_its_last_and_in_the_end_forgotten():
    january, march = NOON - 294 * DAY_S, NOON - 263 * DAY_S  # the 31st and the 3rd
    assert (day_of(january), day_of(march)) == ("2026-01-31", "2026-03-03")
    spending = Spending()
    for number, (at, grant) in enumerate(((january, "tw-long"), (march, "tw-new"), (march, "tw-long"))):
        spending.add(request(number, at, grant=grant, engine="e"))
    assert spending.of_grant("tw-long") == Spent(6, 0, 2)
    spending.add(request(4, march + 90 * DAY_S, grant="tw-later", engine="e"))
    assert spending.grants.keys() == {"tw-later"}


@pytest.mark.parametrize(
    ("changes", "requests"),
    [
        ({}, 1),
        ({"outcome": "cancelled", "status": 499}, 1),
        ({"outcome": "failed", "status": 502}, 1),
        ({"part_of": "req-1"}, 1),  # a sample
        ({"samples": 3}, 0),  # the answer that samples were for
        ({"engine": ""}, 0),
        ({"outcome": "refused", "status": 400}, 0),
        ({"replays": "req-1"}, 0),
        ({"arm": "shadow"}, 0),
        ({"arm": "canary"}, 1),
    ],
)
def test_a_request_is_one_that_an_engine_answered_and_that_passed_the_limits(changes, requests):
    spending = Spending()
    spending.add(request(1, **{"grant": "tw-one", "engine": "e", **changes}))
    assert spending.of_grant("tw-one").requests == requests


def test_nobody_is_charged_for_what_nobody_was_given():
    assert charged(request(1, completion_tokens=4)) == 7
    assert charged(request(1, completion_tokens=4, outcome="cancelled", status=499)) == 7
    assert charged(request(1, arm="shadow")) == 0
    assert charged(msgspec.structs.replace(request(1), request_id="req-00000001-canary")) == 0


entries = st.lists(
    st.builds(
        request,
        st.integers(0, 99),
        at=st.floats(NOON - 40 * 86_400, NOON),
        tenant=st.sampled_from(["a", "b"]),
        key_id=st.sampled_from(["k", "l"]),
        model=st.sampled_from(["m", "m@3", "n"]),
        project=st.sampled_from(["", "web"]),
    ),
    max_size=30,
)


@given(entries=entries)
def test_a_total_asked_for_early_is_the_total_asked_for_late(entries):
    early, late = Spending(), Spending()
    questions = [
        (window, *who)
        for window in ("2026-11", day_of(NOON))
        for who in itertools.product(("", "a"), ("", "l"), ("", "m"), ("", "web"))
    ]
    for question in questions:
        early.total(*question)
    for entry in entries:
        early.add(entry)
        late.add(entry)
    assert [early.total(*question) for question in questions] == [late.total(*question) for question in questions]
    assert early.total("2026-11") == sum(3 for entry in entries if time.gmtime(entry.at).tm_mon == 11)


def test_days_long_past_are_forgotten():
    spending = Spending()
    spending.add(request(1, at=NOON - 100 * 86_400))
    spending.add(request(2))
    assert {row.day for row in spending.rows()} == {"2026-11-21"}
