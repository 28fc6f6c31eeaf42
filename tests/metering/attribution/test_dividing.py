"""A metered span and who gets how much of it: nothing lost, idle power by time, the rest by who drew it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.metering.attribution.dividing import Used, divide
from tokenworks.metering.integral import Span
from tokenworks.metering.opening import Metered, Part

shares = st.floats(0, 1)
amounts = st.floats(0, 1e6)


def metered(*parts: Part, seconds: float = 10.0) -> Metered:
    return Metered(Span(0.0, seconds, sum(part.joules for part in parts)), parts)


@given(
    joules=st.lists(st.tuples(amounts, st.booleans()), min_size=1, max_size=3),
    used=st.dictionaries(st.sampled_from("abc"), st.tuples(shares, shares), max_size=3),
    idle_w=st.floats(0, 200),
    machine=st.floats(0, 20),
    serving=st.floats(0, 5),
)
def test_what_was_metered_is_what_was_divided(joules, used, idle_w, machine, serving) -> None:
    span = metered(*(Part(amount, 0.0, by_processor) for amount, by_processor in joules))
    engines = {name: Used(busy * 10, core * 10) for name, (busy, core) in used.items()}
    found = divide(span, engines, idle_w=idle_w, machine_core_s=machine, serving_core_s=serving)
    parts = [found.idle_j, found.other_j, *found.due_j.values()]
    assert sum(parts) == pytest.approx(span.span.joules, rel=1e-9, abs=1e-6)
    assert min(parts) >= -1e-6


def test_idle_power_goes_by_time_and_the_rest_by_processor_time() -> None:
    span = metered(Part(1000.0, 0.0, True))  # 100 W, of which 40 are drawn by nothing at all
    found = divide(span, {"one": Used(5.0, 6.0)}, idle_w=40.0, machine_core_s=12.0, serving_core_s=0.0)
    assert (found.idle_j, found.other_j) == pytest.approx((200.0, 300.0))
    assert found.due_j["one"] == pytest.approx(200.0 + 300.0)


@pytest.mark.parametrize("by_processor", [False, True], ids=["board", "machine"])
def test_without_a_known_idle_power_all_goes_by_time(by_processor: bool) -> None:
    span = metered(Part(1000.0, 0.0, by_processor))
    found = divide(span, {"one": Used(5.0, 1.0)}, idle_w=0.0, machine_core_s=12.0, serving_core_s=0.0)
    assert (found.idle_j, found.other_j, found.due_j["one"]) == pytest.approx((500.0, 0.0, 500.0))


def test_a_span_in_which_no_engine_worked_is_idle_and_others() -> None:
    span = metered(Part(1000.0, 0.0, True), Part(500.0, 0.0, False))
    found = divide(span, {"one": Used(0.0, 0.0)}, idle_w=60.0, machine_core_s=4.0, serving_core_s=1.0)
    assert (found.idle_j, found.other_j, found.due_j["one"]) == pytest.approx((600.0, 900.0, 0.0))
