"""Prices are whole numbers: no order of sums changes them, and what was reserved is never exceeded."""

from __future__ import annotations

import msgspec
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


@given(price=prices, thinking=counts, prompt=counts, completion=counts, thought_nano=st.integers(0, 10**6))
def test_long_thinking_has_a_price_of_its_own_and_stays_below_what_was_reserved(
    price, thinking, prompt, completion, thought_nano
):
    dear = msgspec.structs.replace(price, thinking_nano=thought_nano)
    cost = dear.micro(prompt=prompt, cached=0, completion=completion, thinking=thinking)
    thought = min(thinking, completion)
    nano = prompt * price.input_nano + (completion - thought) * price.output_nano + thought * thought_nano
    assert cost == -(-nano // 1000)
    assert cost <= dear.most_micro(prompt=prompt, completion=completion)
    same = price.micro(prompt=prompt, cached=0, completion=completion, thinking=thinking)
    assert same == price.micro(prompt=prompt, cached=0, completion=completion)


def test_a_tenants_own_list_comes_before_everybodys():
    own, its_rest, everybodys, rest = (Price(output_nano=nano) for nano in (1, 2, 3, 4))
    listed = Prices({"m": everybodys, "*": rest}, batch_share=2, tenants={"acme": {"m": own}, "beta": {"*": its_rest}})
    assert [listed.of("m", "", tenant) for tenant in ("acme", "beta", "gamma", "")] == [
        own, its_rest, everybodys, everybodys
    ]  # fmt: skip
    assert listed.of("other", "", "acme") == rest
    assert listed.of("m", "batch", "acme") == Price(output_nano=2)
    assert Prices(tenants={"acme": {"m": own}}).of("m", "", "beta") is None
