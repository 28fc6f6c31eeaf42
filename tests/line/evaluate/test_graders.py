"""What counts as right, metric by metric."""

import json

import pytest
from sklearn.metrics import f1_score, ndcg_score

from tokenworks.core.errors import ConfigError
from tokenworks.line.evaluate.grade import grader_named, metric_named
from tokenworks.line.evaluate.graders import exact_match, json_match, macro_f1, ndcg_at_10, recall_at_10
from tokenworks.line.evaluate.report import Item


@pytest.mark.parametrize(("gold", "answer", "right"), [
    ("48/2 = 24\n#### 72", "so that makes\n#### 72", True),
    ("#### 1,200", "The total is $1200.00", True),
    ("#### -3", "#### -3.0", True),
    ("#### 72", "72 of 73", False),
    ("#### 72", "I do not know", False),
    ("#### 72", "", False),
    ("Paris", "  paris \n", True),
    ("Paris", "Paris, France", False),
    ("#### 0.5", "it is .5", True),
])  # fmt: skip
def test_exact_match_reads_the_final_number_or_the_plain_text(gold, answer, right):
    assert exact_match.grade({"answer": gold}, answer).score == right


@pytest.mark.parametrize(("answer", "whole", "fields", "valid"), [
    ('{"b": [1, 2], "a": "x"}', 1, 1, 1),
    ('{"a": "x", "b": [1.0, 2]}', 1, 1, 1),
    ('{"a": "x", "b": [1, 3]}', 0, 2 / 3, 1),
    ('{"a": "x"}', 0, 0.5, 1),
    ('{"a": "x", "b": [1, 2], "c": null}', 0, 6 / 7, 1),
    ("{'a': 'x'}", 0, 0, 0),
    ("", 0, 0, 0),
    ("[]", 0, 0, 1),
])  # fmt: skip
def test_json_match_counts_the_whole_and_the_fields(answer, whole, fields, valid):
    grade = json_match.grade({"answer": '{"a": "x", "b": [1, 2]}'}, answer)
    assert grade.score == whole
    assert grade.parts == pytest.approx({"fields": fields, "valid": valid})


def test_json_match_tells_kinds_of_values_and_nested_paths_apart():
    for gold, answer in (({"a": 1}, {"a": True}), ({"a": "1"}, {"a": 1}), ({"a.b": 1}, {"a": {"b": 1}}), ([], {})):
        assert json_match.grade({"answer": json.dumps(gold)}, json.dumps(answer)).score == 0


def test_macro_f1_agrees_with_scikit_learn():
    gold, said = list("aaabbbccccab"), list("aabbbcccacdb")
    items = [
        Item(id=str(i), score=float(g == s), group=g, predicted=s)
        for i, (g, s) in enumerate(zip(gold, said, strict=True))
    ]
    expected = f1_score(gold, said, average="macro", labels=["a", "b", "c"])
    figure = macro_f1.figure(items)
    assert figure.value == pytest.approx(expected)
    assert figure.low < expected < figure.high


def test_macro_f1_sees_a_better_model_and_not_an_equal_one():
    gold = "abc" * 40
    right = [Item(id=str(i), score=1, group=g, predicted=g) for i, g in enumerate(gold)]
    worse = [Item(id=str(i), score=0, group=g, predicted="a") if i % 4 else right[i] for i, g in enumerate(gold)]
    assert macro_f1.compare(right, worse, alpha=0.05).superior
    assert macro_f1.compare(worse, right, alpha=0.05).inferior
    assert not macro_f1.compare(right, right, alpha=0.05).superior


def test_ranking_metrics_agree_with_their_definitions():
    row = {"relevant": ["d1", "d4"]}
    found = ["d1", "d2", "d3", "d4", "d5"]
    assert recall_at_10.grade(row, found).score == 1
    assert recall_at_10.grade(row, found[:3]).score == 0.5
    relevance = [[1 if name in row["relevant"] else 0 for name in found]]
    assert ndcg_at_10.grade(row, found).score == pytest.approx(ndcg_score(relevance, [[5, 4, 3, 2, 1]], k=10))
    assert ndcg_at_10.grade(row, []).score == 0


def test_recall_of_more_than_ten_relevant_documents_can_be_perfect():
    names = [f"d{i}" for i in range(15)]
    assert recall_at_10.grade({"relevant": names}, names).score == 1


def test_a_metric_is_found_by_its_name_and_a_wrong_one_names_the_nearest():
    assert metric_named("recall@10") is recall_at_10
    assert grader_named("json_match") is json_match
    with pytest.raises(ConfigError, match="accuracy"):
        metric_named("acuracy")
