"""The laws against the published vectors, and the rounding that misled half the field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core import scaling
from tokenworks.core.scaling import BESIROGLU, HOFFMANN_ROUNDED, HOFFMANN_TEX, MUENNIGHOFF

budgets = st.floats(1e12, 1e26)


@pytest.mark.parametrize(
    ("flops", "parameters", "tokens"),
    [(1e18, 8.05e7, 2.07e9), (1e20, 8.54e8, 1.95e10), (1e22, 9.05e9, 1.84e11), (5.76e23, 7.2e10, 1.33e12)],
)
def test_the_refit_gives_the_published_optimum(flops, parameters, tokens):
    best = scaling.compute_optimal(BESIROGLU, flops)
    assert best.parameters == pytest.approx(parameters, rel=5e-3)
    assert best.tokens == pytest.approx(tokens, rel=5e-3)


def test_chinchilla_itself_has_the_published_loss():
    assert scaling.loss(BESIROGLU, 70e9, 1.4e12) == pytest.approx(1.9739, abs=5e-5)


def test_the_refit_agrees_with_chinchillas_twenty_tokens_per_parameter():
    best = scaling.compute_optimal(BESIROGLU, 5.76e23)
    assert best.tokens / best.parameters == pytest.approx(18.4, abs=0.05)


def test_hoffmanns_rounded_constants_ask_for_four_times_the_tokens():
    best = scaling.compute_optimal(HOFFMANN_ROUNDED, 5.76e23)
    assert best.tokens / best.parameters == pytest.approx(92.6, abs=0.05)


def test_two_more_digits_of_the_exponents_move_hoffmanns_optimum_by_a_third():
    rounded, printed = (scaling.compute_optimal(law, 5.76e23) for law in (HOFFMANN_ROUNDED, HOFFMANN_TEX))
    assert printed.tokens / printed.parameters < 0.67 * rounded.tokens / rounded.parameters


@pytest.mark.parametrize(("epochs", "value"), [(1, 1.0), (2, 0.98), (4, 0.93), (8, 0.83), (16, 0.66), (40, 0.38)])
def test_repeated_epochs_are_worth_what_was_published(epochs, value):
    assert scaling.repeat_value(epochs) == pytest.approx(value, abs=6e-3)


def test_fresh_data_is_worth_itself():
    assert scaling.effective_tokens(10, 20) == 10


def test_repeating_for_ever_is_worth_at_most_sixteen_times_the_text():
    assert scaling.effective_tokens(1e15, 1.0) == pytest.approx(1 + scaling.R_TOKENS)


def test_the_data_constrained_law_is_the_plain_one_while_data_is_fresh():
    plain = scaling.loss(MUENNIGHOFF, 1e6, 1e9)
    assert scaling.data_constrained_loss(MUENNIGHOFF, 1e6, 1e9, 1e10) == pytest.approx(plain)


def test_the_usable_size_is_the_compute_optimal_one():
    best = scaling.compute_optimal(MUENNIGHOFF, 1e20)
    assert scaling.parameters_for(MUENNIGHOFF, best.tokens) == pytest.approx(best.parameters)


def test_parameters_beyond_what_the_data_can_use_count_for_less():
    usable = scaling.parameters_for(MUENNIGHOFF, 1e6)
    assert scaling.effective_parameters(MUENNIGHOFF, usable / 2, 1e6) == usable / 2
    assert usable < scaling.effective_parameters(MUENNIGHOFF, usable * 100, 1e6) < usable * 7


@given(budgets)
def test_the_optimum_spends_the_budget(flops):
    best = scaling.compute_optimal(BESIROGLU, flops)
    assert 6 * best.parameters * best.tokens == pytest.approx(flops)


@given(budgets, st.floats(1.05, 4))
def test_no_other_split_of_the_budget_has_a_lower_loss(flops, factor):
    best = scaling.compute_optimal(BESIROGLU, flops)
    lowest = scaling.loss(BESIROGLU, best.parameters, best.tokens)
    for other in (best.parameters * factor, best.parameters / factor):
        assert scaling.loss(BESIROGLU, other, flops / 6 / other) > lowest


@given(st.floats(1, 1e4), st.floats(1e3, 1e9))
def test_more_epochs_never_hurt_the_law_and_never_beat_fresh_data(epochs, unique):
    worth = scaling.effective_tokens(epochs * unique, unique)
    assert unique * 0.999 <= worth <= epochs * unique * 1.001
