"""Caps, volume, groups and clusters: how much of whom, and on which side."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.select.home import task_of
from tokenworks.flywheel.select import caps
from tokenworks.flywheel.select.clusters import clusters
from tokenworks.flywheel.select.features import Hashed, unit
from tokenworks.flywheel.select.rows import Row
from tokenworks.flywheel.select.split import fresh_groups, is_fresh, with_groups
from tokenworks.flywheel.select.volume import by_lot, choose, most_telling

COUNTS = st.lists(st.integers(1, 500), min_size=1, max_size=40)


def row(number: int, **changes) -> Row:
    facts = {
        "part": "example",
        "request_id": f"req-{number}",
        "feedback_id": f"fb-{number}",
        "principal": "key/u",
        "at": float(number),
        "asked_at": float(number),
        "text": f"text {number}",
        "answer": "billing",
    }
    return Row(**{**facts, **changes})


@settings(deadline=None)
@given(counts=COUNTS, share=st.floats(0.01, 1))
def test_the_cap_is_a_share_of_what_is_left_and_the_largest_such(counts: list[int], share: float):
    share = caps.fair_share(counts, share)
    most = caps.cap(counts, share)
    left = sum(min(count, most) for count in counts)
    assert most <= max(caps.FLOOR, share * left + 1e-9)
    more = most + 1
    if most > caps.FLOOR and more <= max(counts):
        assert more > share * sum(min(count, more) for count in counts) - 1e-9


def test_a_flood_does_not_raise_its_own_cap():
    honest = [20] * 20
    assert caps.cap([*honest, 10_000], 0.1) == caps.cap([*honest, 100_000], 0.1)


@pytest.mark.parametrize("counts", [[500], [500, 10]])
def test_alone_or_as_two_nobody_is_capped(counts: list[int]):
    assert caps.cap(counts, caps.fair_share(counts, 0.1)) >= 500


def test_a_home_with_one_user_learns_and_says_that_the_share_means_nothing(home):
    for number in range(60):
        home.correct(f"question number {number} of the day", "billing", user="only")
    chosen = home.select(task_of())
    assert len(home.learned(chosen)) == 60
    assert any("1 principals are too few" in note for note in chosen.report.notes)


def test_one_of_many_gives_no_more_than_its_share(home):
    for number in range(100):
        home.correct(f"busy question {number} " + "abcdefghij"[number % 10] * 9, "billing", user="busy")
    for number in range(200):
        home.correct(f"normal question {number} " + "klmnopqrst"[number % 10] * 9, "billing", user=f"u{number % 25}")
    chosen = home.select(task_of())
    report = chosen.report
    assert report.share == 0.1
    assert 0 < report.capped["key-1/busy"] < 100
    mine = [one for one in home.learned(chosen) if one["text"].startswith("busy")]
    assert len(mine) == report.cap <= max(caps.FLOOR, 0.1 * len(home.learned(chosen)))


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8), most=st.integers(1, 100))
def test_small_strata_stay_whole_while_large_ones_shrink(sizes: list[int], most: int):
    strata = [name for name, size in enumerate(sizes) for _ in range(size)]
    rows = [row(number) for number in range(len(strata))]
    chosen = choose(rows, strata, most, by_lot)
    kept = [sum(strata[at] == name for at in chosen) for name in range(len(sizes))]
    assert len(chosen) == min(most, len(rows))
    shrunk = [count for count, size in zip(kept, sizes, strict=True) if count < size]
    assert max(shrunk, default=0) - min(shrunk, default=0) <= 1
    assert not shrunk or max(kept) <= max(shrunk) + 1


def test_the_most_telling_rows_stay():
    rows = [row(number, informative=float(number % 3)) for number in range(30)]
    assert {rows[at].informative for at in choose(rows, [0] * 30, 10, most_telling)} == {2.0}


def test_a_group_is_the_conversation_else_the_user_else_the_request():
    many = [row(number, user=f"u{number}") for number in range(30)]
    rows = with_groups([*many, row(100, user="u1", conversation="c1"), row(101)])
    assert rows[1].group == "user:u1"
    assert rows[-2].group == "conversation:c1"
    assert rows[-1].group == "request:req-101"


def test_with_few_users_a_day_of_a_user_is_a_group():
    monday, tuesday = with_groups([row(1, user="u"), row(2, user="u", asked_at=86_400.0 + 5)])
    assert monday.group != tuesday.group


def test_what_is_measured_on_came_after_what_the_model_in_production_learned():
    rows = [row(number, user=f"u{number % 40}", at=float(number)) for number in range(400)]
    first = with_groups(rows)
    measured = fresh_groups(first, share=0.3, seed=0)
    assert 6 <= len(measured) <= 18  # of 40 users
    later = with_groups(rows, 200.0)
    second = fresh_groups(later, share=0.3, seed=0, learned_until=200.0)
    assert second
    assert min(each.at for each in later if each.group in second) > 200.0
    users = {each.user for each in later if each.group in second}
    assert users != {each.user for each in first if each.group in measured}  # others have their turn to teach


def test_a_conversation_that_began_before_is_never_measured_on():
    rows = [row(n, conversation=f"c{n % 30}", at=float(n)) for n in range(60)]
    grouped = with_groups(rows, 14.5)
    found = fresh_groups(grouped, share=1.0, seed=0, learned_until=14.5)
    assert found == {f"conversation:c{n}" for n in range(15, 30)}


@settings(deadline=None)
@given(st.text(max_size=12), st.integers(0, 9))
def test_a_group_stays_fresh_when_more_is_kept_fresh(group: str, seed: int):
    assert not is_fresh(group, share=0.0, seed=seed)
    assert is_fresh(group, share=1.0, seed=seed)
    if is_fresh(group, share=0.2, seed=seed):
        assert is_fresh(group, share=0.3, seed=seed)


def test_clusters_are_the_topics_and_the_same_every_time():
    rng = random.Random(0)
    topics = [[f"{name}{n}" for n in range(8)] for name in ("red", "blue", "green")]
    texts = [" ".join(rng.choices(topics[number % 3], k=6)) for number in range(90)]
    found = clusters(Hashed()(texts))
    pure = sum(np.bincount(np.arange(90)[found == name] % 3).max() for name in set(found.tolist()))
    assert pure >= 85
    assert (clusters(Hashed()(texts)) == found).all()


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), max_size=20))
def test_hashed_vectors_have_length_one_or_no_words(texts: list[str]):
    lengths = np.linalg.norm(Hashed()(texts), axis=1) if texts else np.zeros(0)
    assert all(length == pytest.approx(1, abs=1e-5) or length == 0 for length in lengths)
    assert unit(np.zeros((2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_embeddings_are_made_once_and_then_read(tiny_bert, tmp_path):
    pytest.importorskip("torch")
    from tokenworks.flywheel.select.features import Embedded

    texts = ["lost card", "late parcel", "lost card"]
    first = Embedded(tiny_bert, "d" * 64, tmp_path, 1)(texts)
    assert (first[0] == first[2]).all()
    again = Embedded(tmp_path / "gone", "d" * 64, tmp_path, 1)(texts)  # the encoder is not needed any more
    assert (again == first).all()
    (tmp_path / f"vectors-{'d' * 16}.safetensors").write_bytes(b"damaged")
    assert Embedded(tiny_bert, "d" * 64, tmp_path, 1)(texts) == pytest.approx(first, abs=1e-6)
