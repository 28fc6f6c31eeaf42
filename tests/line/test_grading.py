"""Whether one answer is right, and what it earns."""

import pytest

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.line.grading import exact_match, json_match, reward_named


@pytest.mark.parametrize(("name", "gold", "answered", "earned"), [
    ("exact_match", "#### 1,200", "that makes 1200.0", 1.0),
    ("exact_match", "Blue sky", " blue  SKY ", 1.0),
    ("exact_match", "Blue sky", "a blue sky", 0.0),
    ("contains", "blue", "The sky is Blue.", 1.0),
    ("contains", "blue", "The sky is grey.", 0.0),
    ("regex", r"\d{4}-\d{2}", "2024-05\n", 1.0),
    ("regex", r"\d{4}-\d{2}", "in 2024-05", 0.0),
    ("json_match", '{"a": 1, "b": "x"}', '{"b": "x", "a": 1.0}', 1.0),
    ("json_match", '{"a": 1, "b": "x"}', '{"a": 1, "b": "y"}', 0.5),
    ("json_match", '{"a": 1}', "a is 1", 0.0),
])  # fmt: skip
def test_an_answer_earns_what_it_is_worth(name, gold, answered, earned):
    assert reward_named(name)(gold, answered) == pytest.approx(earned)


def test_the_reward_of_json_is_whole_only_where_the_answer_is():
    match = json_match('{"a": [1, 2]}', '{"a": [1]}')
    assert (match.whole, match.valid) == (False, True)
    assert 0 < match.fields < 1


def test_a_gold_without_a_mark_is_compared_as_text():
    assert not exact_match("12", "it is 12")


def test_unknown_rewards_and_broken_patterns_are_named():
    with pytest.raises(ConfigError, match="exact_match, json_match"):
        reward_named("niceness")
    with pytest.raises(DataError, match="no regular expression"):
        reward_named("regex")("(", "x")
