"""Query expressions and rank fusion."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.retrieval.ranking import RRF, fuse, match_expression


def test_an_item_in_two_rankings_beats_one_that_leads_a_single_one():
    assert [item for item, _ in fuse([[1, 2, 3], [4, 2, 5]])] == [2, 1, 4, 3, 5]
    assert fuse([[7]]) == [(7, pytest.approx(1 / (RRF + 1)))]


@given(st.text(max_size=60))
def test_any_text_makes_an_expression_that_fts5_accepts(text):
    sql = sqlite3.connect(":memory:")
    sql.execute("CREATE VIRTUAL TABLE t USING fts5 (body)")
    if expression := match_expression(text):
        sql.execute("SELECT * FROM t WHERE t MATCH ?", (expression,)).fetchall()
    sql.close()


def test_words_are_counted_once_and_bounded():
    assert match_expression("Card card CARD lost") == '"card" OR "lost"'
    assert match_expression(" ".join(f"w{number}" for number in range(999))).count(" OR ") == 47
