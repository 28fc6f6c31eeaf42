"""The cost of steps from measurements."""

from __future__ import annotations

import pytest

from tokenworks.core.errors import DataError
from tokenworks.planning.fitting import Decoded, Read, fit


def measured(slope=2e-6, step=(0.01, 0.0005), alone=0.008, prompt=1e-4, pair=1e-8):
    decoded = [
        Decoded(running=n, context=context, step_s=step[0] + step[1] * n + slope * n * context)
        for n, context in ((1, 60), (4, 60), (8, 60), (4, 1000))
    ]
    read = [Read(tokens=n, ttft_s=alone + prompt * n + pair * n**2 / 2) for n in (16, 128, 512, 1024)]
    return decoded, read


def test_a_known_cost_is_found_again():
    found = fit(*measured(), most=16)
    assert found.error < 1e-6
    assert found.cost.context_s[4] == pytest.approx(2e-6)
    assert found.cost.prompt_s == pytest.approx(1e-4)
    assert found.cost.pair_s == pytest.approx(1e-8)
    assert found.cost.step_s[6] == pytest.approx(0.01 + 0.0005 * 6)
    assert found.cost.step_s[16] == pytest.approx(0.01 + 0.0005 * 16)
    assert found.cost.step_s[0] + found.cost.request_s == pytest.approx(0.008)


def test_no_figure_of_a_fit_is_negative():
    decoded, read = measured(slope=-1e-6, pair=0.0)
    cost = fit(decoded, read, most=8).cost
    assert min(*cost.step_s, *cost.context_s, cost.prompt_s, cost.pair_s, cost.request_s) >= 0


def test_too_little_is_refused():
    decoded, read = measured()
    with pytest.raises(DataError, match="too little was measured"):
        fit(decoded[:1], read, most=8)
