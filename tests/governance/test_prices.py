"""Prices are whole numbers: no order of sums changes them, and what was reserved is never exceeded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenworks.governance.prices import Price, Prices, per_million

prices = st.builds(
    Price, input_nano=st.integers(0, 10**6), cached_nano=st.integers(0, 10**6), output_nano=st.integers(0, 10**6)
)
counts = st.integers(0, 10**6)


@given(price=prices, prompt=counts, cached=counts, completion=counts, more=counts)
def test_no_request_costs_more_than_the_most_that_was_reserved(price, prompt, cached, completion, more):
    cost = price.micro(prompt=prompt, cached=cached, completion=completion)
    assert 0 <= cost <= price.most_micro(prompt=prompt + more, completion=completion + more)


def test_a_price_per_million_tokens_is_that_of_a_million_tokens():
    price = Price(input_nano=per_million(0.15), cached_nano=per_million(0.075), output_nano=per_million(0.6))
    assert price.micro(prompt=1_000_000, cached=0, completion=0) == 150_000
    assert price.micro(prompt=1_000_000, cached=1_000_000, completion=1_000_000) == 675_000
    assert price.micro(prompt=1, cached=0, completion=0) == 1  # a fraction of a millionth is one


def test_a_model_has_its_own_price_or_that_of_every_other_and_batches_cost_less():
    mine, other = Price(output_nano=4000), Price(output_nano=10)
    listed = Prices({"mine": mine, "*": other}, currency="EUR", batch_share=0.5)
    assert (listed.of("mine"), listed.of("any")) == (mine, other)
    assert listed.of("mine", "batch") == Price(output_nano=2000)
    assert Prices().of("mine") is None
