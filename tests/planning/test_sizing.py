"""How much a copy makes, and how many are needed."""

from __future__ import annotations

import numpy as np
import pytest

from tokenworks.planning.batching import Cost
from tokenworks.planning.sizing import steady
from tokenworks.planning.trace import Trace
from tokenworks.planning.workload import Targets

COST = Cost(step_s=(0.01,) * 65, context_s=(0.0,) * 65, prompt_s=0.0)
TRACE = Trace(np.zeros(10), np.full(10, 80), np.full(10, 40))


def test_no_more_run_at_once_than_have_room():
    targets = Targets(tpot_p95_s=1.0)
    assert steady(COST, TRACE, targets) == pytest.approx(64 / 0.01)
    assert steady(COST, TRACE, targets, cache_tokens=1000) == pytest.approx(10 / 0.01)
