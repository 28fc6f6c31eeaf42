"""The exact tests are those of the books: scipy says the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.flywheel.select.exact import binomial_tail, fisher_tail, holm

stats = pytest.importorskip("scipy.stats")


@settings(deadline=None)
@given(trials=st.integers(0, 60), hits=st.integers(-1, 61), rate=st.floats(0, 1))
def test_the_binomial_tail_is_scipys(trials: int, hits: int, rate: float) -> None:
    assert binomial_tail(hits, trials, rate) == pytest.approx(stats.binom.sf(hits - 1, trials, rate), abs=1e-9)


@settings(deadline=None)
@given(total=st.integers(1, 60), data=st.data())
def test_the_hypergeometric_tail_is_scipys(total: int, data: st.DataObject) -> None:
    drawn, marked = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    inside = data.draw(st.integers(0, total))
    expected = stats.hypergeom.sf(inside - 1, total, marked, drawn)
    assert fisher_tail(inside, drawn, marked, total) == pytest.approx(expected, abs=1e-9)


def test_holm_is_the_textbooks() -> None:
    # Holm (1979): 0.01 * 4, 0.02 * 3, then never less than the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusting_never_lowers_a_p_value_and_keeps_the_order(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(after >= before for before, after in zip(values, adjusted, strict=True))
    ranked = [after for _, after in sorted(zip(values, adjusted, strict=True))]
    assert ranked == sorted(ranked)
