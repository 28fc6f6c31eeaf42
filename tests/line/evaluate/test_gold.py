"""Gold rows: ids that depend on content alone, and errors that name the line."""

import json

import pytest

from tokenworks.core.errors import DataError
from tokenworks.line.evaluate.gold import read_gold


def lines(*rows):
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def test_an_id_depends_on_the_content_and_not_on_the_place_or_the_order_of_keys():
    one, two = {"text": "a", "label": "x"}, {"text": "b", "label": "y"}
    here = read_gold(lines(one, two), "classify")
    there = read_gold(lines(two, {"label": "x", "text": "a"}), "classify")
    assert [gold.id for gold in here] == [gold.id for gold in reversed(there)]
    assert len(here[0].id) == 16


def test_equal_rows_are_two_items():
    row = {"text": "a", "label": "x"}
    assert len({gold.id for gold in read_gold(lines(row, row), "classify")}) == 2


def test_the_gold_answer_is_the_last_assistant_turn():
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a\u2028b"}]
    (gold,) = read_gold(json.dumps({"messages": turns}, ensure_ascii=False).encode(), "chat")
    assert gold.row == {"answer": "a\u2028b"}
    assert gold.messages == ({"role": "user", "content": "q"},)


@pytest.mark.parametrize(("kind", "rows", "says"), [
    ("classify", ["{not json"], "gold line 1: not JSON"),
    ("classify", [{"text": "a", "label": "x"}, "[1]"], "gold line 2: a list"),
    ("classify", [{"text": "a"}], '"label" must be a text'),
    ("classify", [{"text": None, "label": "x"}], '"text" must be a text'),
    ("classify", [], "no items"),
    ("chat", [{"messages": [{"role": "user", "content": "q"}]}], "question and its gold answer"),
    ("chat", [{"messages": [{"role": "user", "content": "q"}, {"role": "user", "content": "r"}]}], "last message"),
    ("extract", [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant"}]}], "last message"),
    ("embed", [{"query": "q", "relevant": []}], "at least one document"),
])  # fmt: skip
def test_a_row_that_cannot_be_asked_is_named(kind, rows, says):
    with pytest.raises(DataError) as caught:
        read_gold(lines(*rows), kind)
    assert says in str(caught.value)
