"""The figures of a sweep: paired intervals, what stopping early lost, and what is left out where it was not metered."""

from __future__ import annotations

import random

import msgspec
import pytest

from tokenworks.factory.curve import Row, comparable, curve_lines, early_lines, early_of, paired, point

PLAIN = Row(right=1.0, tokens=10, samples=1)


def rows(rights: list[list[float]], tokens: int = 10, **more: float | None) -> list[list[Row]]:
    return [[Row(right=right, tokens=tokens, samples=1, **more) for right in row] for row in rights]  # type: ignore[arg-type]


def world(questions: int, orders: int = 16, loses: float = 0.02) -> tuple[list[list[Row]], list[list[Row]]]:
    """Return early and fixed rows of a world where stopping early loses a right answer now and then, and wins some."""
    rng = random.Random(5)
    early, fixed = [], []
    for _ in range(questions):
        right = float(rng.random() < 0.9)
        unsure = rng.random() < 0.1
        flips = [right if not unsure or rng.random() > loses * 5 else 1 - right for _ in range(orders)]
        early.append(flips)
        fixed.append([right] * orders)
    return rows(early, tokens=5), rows(fixed, tokens=16)


def test_the_mean_over_orders_is_surer_than_one_order() -> None:
    found = early_of(*world(2000))
    assert found.high - found.low < 0.6 * (found.once[2] - found.once[1])
    assert found.low < found.difference < found.high
    assert found.once[1] < found.once[0] < found.once[2]
    assert found.tokens_share == pytest.approx(5 / 16)
    assert (found.questions, found.orders) == (2000, 16)


def test_so_many_questions_as_are_said_to_be_needed_show_it() -> None:
    found = early_of(*world(150), margin=0.009)
    assert not found.shown
    assert found.needed is not None
    assert found.needed > 150
    assert "not shown to be within 0.9 points; " in early_lines(found)[0]
    more = early_of(*world(4 * found.needed), margin=0.009)
    assert more.shown
    assert "tokens: within 0.9 points" in early_lines(more)[0]


def test_no_number_of_questions_shows_what_is_not_so() -> None:
    found = early_of(rows([[0.0]] * 10 + [[1.0]] * 90), rows([[1.0]] * 100))
    assert (found.shown, found.needed) == (False, None)


def test_a_way_tried_in_one_order_is_held_against_that_order_alone() -> None:
    """The sample that it began with was wrong in each question: that it is now right is what it gained."""
    gain = paired(rows([[1.0]] * 400), rows([[0.0, 1.0, 1.0, 1.0]] * 400))
    assert gain.difference == 1.0


def test_a_figure_that_one_way_lacks_is_compared_for_none() -> None:
    metered, half = rows([[1.0, 1.0]] * 8, joules=2.0, cost=0.1), rows([[1.0, 1.0]] * 8, cost=0.1)
    mixed = [[msgspec.structs.replace(row[0], joules=2.0), row[1]] for row in half]
    told = [
        point(name, 1, found, metered, verifier="", eligible=True)
        for name, found in zip("ab", (metered, mixed), strict=True)
    ]
    assert (told[0].joules, told[1].joules) == (2.0, None)
    assert [(one.joules, one.cost) for one in comparable(told)] == [(None, told[0].cost)] * 2
    head, first, _ = curve_lines(comparable(told))
    assert "joules" not in head
    assert "cost" in head
    assert len(first) == len(head)
