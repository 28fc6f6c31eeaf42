"""What is voted on."""

from __future__ import annotations

import time

import pytest

from tokenworks.core.errors import DataError
from tokenworks.serving.thinking.answers import read_answer, reader, spelled


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So it is \boxed{42}. Done", "42"),
        (r"first \boxed{1}, no: \boxed{1,200.50}", "1200.5"),
        ("long\nwork\n#### 1 0 5 9", "1059"),
        ("I think the answer is: Paris.", "paris"),
        ("thus\nFinal answer: 7.0", "7"),
        ("one\ntwo\n  Three. ", "three"),
        ('{"b": 1, "a": [2]}', '{"a":[2],"b":1}'),
        ("{broken", "{broken"),
        ("", ""),
        ("+5", "5"),
    ],
)
def test_a_text_is_read_by_its_end_in_one_spelling(text: str, answer: str) -> None:
    assert read_answer(text) == answer


def test_a_caller_may_say_what_the_answer_is() -> None:
    read = reader(r"; ([\d ]+)$")
    assert read(" 1 + 2 = 3 ; 3 3 3") == spelled("333")
    assert read("nothing here") == ""


def test_what_is_no_pattern_is_refused() -> None:
    with pytest.raises(DataError, match="not a regular expression"):
        reader("(")
    with pytest.raises(DataError, match="at most"):
        reader("a" * 2000)


def test_a_pattern_that_never_ends_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match="took longer"):
        reader(r"(a|aa)+$")("a" * 80 + "!")
    assert time.monotonic() - began < 30
