"""Conversations in the OpenAI fine-tuning format, and what is said about those that are not."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import DataError
from tokenworks.line.train._conversations import read_conversations

ASKED = {"role": "user", "content": "q"}
GOOD = {"messages": [ASKED, {"role": "assistant", "content": "a"}]}


def lines(*rows):
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def turns(*pairs):
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


def test_a_conversation_is_read_with_its_roles():
    (conversation,) = read_conversations(lines(turns(("system", "s"), ("user", "q"), ("assistant", "a"))))
    assert [message.role for message in conversation] == ["system", "user", "assistant"]
    assert [message.trained for message in conversation] == [False, False, True]


def test_weight_zero_keeps_an_answer_out_of_the_loss():
    row = {"messages": [*GOOD["messages"], {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]}
    row["messages"][1] = {**row["messages"][1], "weight": 0}
    (conversation,) = read_conversations(lines(row))
    assert [message.trained for message in conversation] == [False, False, False, True]


def test_blank_lines_and_line_separators_inside_text_are_no_trouble():
    row = json.dumps(turns(("user", "a\u2028b"), ("assistant", "c")), ensure_ascii=False)
    assert len(read_conversations(lines("", row, "  ", GOOD))) == 2


@pytest.mark.parametrize(("row", "says"), [
    ("{", "not JSON"),
    ("[]", 'no list "messages"'),
    ({"prompt": "q", "completion": "a"}, 'must look like {"messages"'),
    ({"messages": ["hello"]}, "messages[0] is a str"),
    (turns(("human", "q"), ("assistant", "a")), "role 'human'; the roles are system"),
    (turns(("user", "q")), "no assistant message"),
    (turns(("user", "q"), ("assistant", "a"), ("user", "r")), "ends with role 'user'"),
    (turns(("user", "q"), ("system", "s"), ("assistant", "a")), "system message stands after"),
    (turns(("user", "q"), ("assistant", "  ")), "empty answer"),
    (turns(("user", None), ("assistant", "a")), "content must be a text"),
    ({"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [{}]}]}, "calls a tool"),
    ({"messages": [ASKED, {"role": "assistant", "content": "a", "weight": 0}]}, "no assistant"),
])  # fmt: skip
def test_a_bad_line_is_named_with_the_way_out(row, says):
    with pytest.raises(DataError) as caught:
        read_conversations(lines(GOOD, row))
    assert "line 2: " in str(caught.value)
    assert says in str(caught.value)


def test_many_bad_lines_are_counted_and_the_first_ones_shown():
    with pytest.raises(DataError) as caught:
        read_conversations(lines(GOOD, *["{"] * 9))
    assert "9 lines cannot be used" in str(caught.value)
    assert "line 6: " in str(caught.value)
    assert "and 4 more lines" in str(caught.value)


def test_no_conversation_at_all_is_an_error():
    with pytest.raises(DataError, match="there are none"):
        read_conversations(b"\n\n")


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(DataError):
        read_conversations(data)
