"""Labelled rows: what is settled, what is left out with a note, what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import DataError
from tokenworks.line.train._labelled import read_labelled


def lines(*rows: tuple[str, str]) -> list[bytes]:
    return [json.dumps({"text": text, "label": label}).encode() for text, label in rows]


def test_the_majority_settles_a_contradiction_and_a_tie_leaves_the_text_out():
    plain = [(f"text {number}", "xy"[number % 2]) for number in range(40)]
    data = read_labelled(lines(*plain, ("same", "x"), ("Same ", "x"), ("same", "y"), ("tie", "x"), ("tie", "y")))
    found = dict(zip(data.texts, data.targets, strict=True))
    assert data.classes[found["same"]] == "x"
    assert "tie" not in found
    assert any("2 texts carry contradicting labels" in note and "1 without one" in note for note in data.notes)


def test_labels_that_mostly_contradict_each_other_are_refused_with_an_example():
    with pytest.raises(DataError, match=r"100% of the rows contradict.*'pay me' is labelled x, y"):
        read_labelled(lines(("pay me", "x"), ("pay me", "y")))


def test_empty_texts_and_labels_are_left_out_and_counted():
    data = read_labelled([*lines(("a", "x"), ("b", "y"), ("  ", "x"), ("c", "")), b"\n"])
    assert data.texts == ["a", "b"]
    assert "2 rows without a text, a label or a weight were left out" in data.notes


def test_nothing_but_empty_texts_is_refused():
    with pytest.raises(DataError, match="nothing to learn from"):
        read_labelled(lines(("", "x"), (" ", "y")))


@pytest.mark.parametrize("line", [b"{", b'{"text": 3, "label": "x"}', b'{"text": "a"}', b"\xff\xfe"])
def test_a_line_that_is_no_row_is_named(line):
    with pytest.raises(DataError, match="line 2"):
        read_labelled([*lines(("a", "x")), line])


def test_a_class_with_one_example_is_kept_and_mentioned():
    data = read_labelled(lines(("a", "x"), ("b", "x"), ("c", "rare")))
    assert data.smallest == 1
    assert any("'rare'" in note for note in data.notes)


@given(st.lists(st.tuples(st.text(max_size=3), st.sampled_from("xyz")), max_size=30))
def test_every_kept_text_is_distinct_and_has_a_label_that_was_given_to_it(rows):
    try:
        data = read_labelled(lines(*rows))
    except DataError:
        return
    keys = [" ".join(text.split()).casefold() for text in data.texts]
    assert len(set(keys)) == len(keys)
    given_labels = {(" ".join(text.split()).casefold(), label) for text, label in rows}
    assert {(key, data.classes[at]) for key, at in zip(keys, data.targets, strict=True)} <= given_labels
