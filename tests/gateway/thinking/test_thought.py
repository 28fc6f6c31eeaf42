"""What an answer costs that was thought about: nothing is charged twice, thinking at its own price."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.usage import Usage
from tokenworks.gateway.thinking.purse import cost_in
from tokenworks.gateway.thinking.thought import Thought
from tokenworks.governance.prices import Price
from tokenworks.serving.thinking.budget import NANO
from tokenworks.serving.thinking.contract import Sample

nano = st.integers(0, 5_000)
prices = st.builds(Price, input_nano=nano, cached_nano=nano, output_nano=nano, thinking_nano=st.none() | nano)
counts = st.integers(0, 500)


def test_what_is_shown_to_nobody_costs_what_thinking_costs() -> None:
    price = Price(input_nano=1_000, cached_nano=1_000, output_nano=2_000, thinking_nano=5_000)
    thought = Thought(of="req-1")
    for _ in range(4):
        thought.take(price, Usage(prompt_tokens=10, completion_tokens=5))
    thought.thinking_tokens = 15
    assert thought.price_micro == 40 * 1 + 5 * 2 + 15 * 5


def test_what_the_chosen_sample_thought_for_itself_is_thinking_too() -> None:
    """A model that reasons by itself is charged the same whether one sample is drawn or several."""
    price = Price(input_nano=1_000, cached_nano=1_000, output_nano=2_000, thinking_nano=5_000)
    thought = Thought(of="req-1")
    used = Usage(prompt_tokens=10, completion_tokens=50, thinking_tokens=40)
    thought.take(price, used)
    thought.show([used])
    assert thought.thinking_tokens == 40
    assert thought.price_micro == price.micro(prompt=10, cached=0, completion=50, thinking=40)
    thought.take(price, used)
    thought.show([used])
    assert thought.thinking_tokens == 90


@given(price=prices, samples=st.lists(st.tuples(counts, counts, counts), min_size=1, max_size=6), shown=counts)
def test_the_purse_holds_at_least_what_is_charged(
    price: Price, samples: list[tuple[int, int, int]], shown: int
) -> None:
    thought, held, cost = Thought(of="req-1"), 0, cost_in(price)
    for number, (prompt, read, completion) in enumerate(samples):
        cached = min(read, prompt)
        thought.take(price, Usage(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion))
        drawn = Sample(number=number, text="", prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion)
        held += cost(drawn)["money"]
    thought.thinking_tokens = max(0, thought.usage.completion_tokens - shown)
    assert thought.price_micro * NANO <= held
