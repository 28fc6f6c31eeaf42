"""Baselines are fair: as good as the field's own tools make them."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tokenworks.line.evaluate.baselines import bm25, logistic_regression, majority, nearest_centroid
from tokenworks.line.evaluate.baselines._bag_of_words import Rows, Vocabulary, numbered

TEXTS = ["pay my bill", "the bill is wrong", "card lost", "my card was stolen", "cannot log in", "log in fails again"]
LABELS = ["billing", "billing", "card", "card", "login", "login"]


@pytest.fixture(scope="module")
def banking(data_folder):
    """A part of the bank-customer intents: 15 classes."""
    folder = data_folder / "instruct-eval" / "banking77"
    sides = []
    for name in ("train.csv", "test.csv"):
        with (folder / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        kept = sorted({row["category"] for row in rows})[:15]
        sides.append([(row["text"], row["category"]) for row in rows if row["category"] in kept])
    return sides


def test_majority_says_the_most_frequent_class_and_the_first_name_in_a_tie():
    assert majority.predict(["x"] * 3, ["b", "a", "a"], ["q", "r"]) == ["a", "a"]
    assert majority.predict(["x"] * 2, ["b", "a"], ["q"]) == ["a"]


@pytest.mark.parametrize("baseline", [nearest_centroid, logistic_regression])
def test_a_baseline_learns_what_is_plain(baseline):
    asked = ["bill", "stolen card", "log in"]
    assert baseline.predict(TEXTS, LABELS, asked) == ["billing", "card", "login"]


@pytest.mark.parametrize("baseline", [majority, nearest_centroid, logistic_regression])
@pytest.mark.parametrize(
    ("texts", "labels"), [(["a b"], ["x"]), (["", "?"], ["x", "y"]), (["word"] * 60, ["x", "y"] * 30)]
)
def test_a_baseline_survives_texts_without_words_and_a_single_class(baseline, texts, labels):
    answers = baseline.predict(texts, labels, ["", "unknown words", "\N{SNOWMAN}"])
    assert len(answers) == 3
    assert set(answers) <= set(labels)


def test_tf_idf_rows_are_those_of_scikit_learn(banking):
    texts = [text for text, _ in banking[0]][:300]
    rows, theirs = Vocabulary(texts).rows(texts), TfidfVectorizer().fit_transform(texts)
    assert (rows.height, rows.width) == theirs.shape
    dense = rows.times(np.eye(rows.width, dtype=np.float32))
    np.testing.assert_allclose(dense, theirs.toarray(), atol=1e-5)


def test_logistic_regression_is_as_good_as_scikit_learns(banking):
    (texts, labels), (asked, gold) = (zip(*side, strict=True) for side in banking)
    vectors = TfidfVectorizer()
    rows = vectors.fit_transform(texts)
    theirs = LogisticRegression(C=10.0, max_iter=1000).fit(rows, labels).score(vectors.transform(asked), gold)
    ours = np.mean(np.array(logistic_regression.predict(texts, labels, asked)) == np.array(gold))
    assert ours > theirs - 0.01


def test_logistic_regression_finds_the_same_weights_as_scikit_learn(banking):
    texts, labels = zip(*banking[0][:600], strict=True)
    classes, numbers = numbered(labels)
    rows = Vocabulary(texts).rows(texts)
    weights, bias = logistic_regression.fit(rows, numbers, len(classes), c=1.0, tolerance=1e-6)
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=3000).fit(TfidfVectorizer().fit_transform(texts), labels)
    np.testing.assert_allclose(weights.T, theirs.coef_, atol=5e-3)
    np.testing.assert_allclose(bias - bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=5e-3)


@given(st.lists(st.dictionaries(st.integers(0, 5), st.floats(-2, 2, width=32), max_size=4), min_size=1, max_size=8))
def test_sparse_products_equal_dense_ones(rows):
    dense = np.zeros((len(rows), 6), np.float32)
    for number, row in enumerate(rows):
        for column, value in row.items():
            dense[number, column] = value
    starts = np.cumsum([0, *(len(row) for row in rows)])
    columns = np.array([column for row in rows for column in row], np.int64)
    sparse = Rows(starts, columns, np.array([v for row in rows for v in row.values()], np.float32), 6)
    other = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    np.testing.assert_allclose(sparse.times(other), dense @ other, atol=1e-4)
    back = np.random.default_rng(1).normal(size=(len(rows), 3)).astype(np.float32)
    np.testing.assert_allclose(sparse.transposed().times(back), dense.T @ back, atol=1e-4)
    picks = np.arange(len(rows))[::-2]
    np.testing.assert_allclose(sparse.take(picks).times(other), dense[picks] @ other, atol=1e-4)


def test_bm25_prefers_the_document_with_the_rare_word():
    documents = ["the cat sat on the mat", "the dog sat on the log", "the report on ferrets"]
    ranked = bm25.rank(documents, ["the ferrets", "dog", "nothing"], depth=2)
    assert ranked[0][0] == 2
    assert ranked[1][0] == 1
    assert len(ranked[2]) == 2
