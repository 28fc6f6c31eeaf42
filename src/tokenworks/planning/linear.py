"""The step-time model as the straight lines that the simulation wants, around a workload's own lengths."""

from __future__ import annotations

import numpy as np

from tokenworks.planning.batching import Cost, Scheduler
from tokenworks.planning.calibration import Calibration
from tokenworks.planning.step import PRIORS, Deployment, Priors, decode_s, overhead_s, prefill_s, weights_s
from tokenworks.planning.trace import Trace

MOST_SEQUENCES = 512
CHUNK = 8192  # tokens in a step, as engines have it by default; vLLM calls it max_num_batched_tokens
SHORT, LONG = 256.0, 8192.0  # prompts between which reading is taken as a line and a square


def cost_of(of: Deployment, trace: Trace, calibration: Calibration, priors: Priors = PRIORS) -> Cost:
    """Return what steps of `of` cost on requests as long as those of `trace`."""
    context = float(np.average(trace.prompt + trace.answer / 2, weights=trace.answer))
    count = np.arange(1.0, min(MOST_SEQUENCES, max(of.most_sequences(context), 1)) + 1)
    near, far = decode_s(of, count, context / 2, priors), decode_s(of, count, context * 1.5, priors)
    slope = (far - near) / (count * context)  # for each token of the past, of all sequences together
    flat = near - slope * count * context / 2
    # a*n + b*n^2/2 through two lengths of prompt; sparse attention bends the other way and counts as straight.
    short, long = float(prefill_s(of, SHORT, 0.0, priors)), float(prefill_s(of, LONG, 0.0, priors))
    pair = max(2 * (long / LONG - short / SHORT) / (LONG - SHORT), 0.0)
    alone = float(overhead_s(of, 0, priors) + weights_s(of, SHORT, priors))
    factor = calibration.factor
    return Cost(
        step_s=tuple((np.concatenate([[alone], flat]) * factor).tolist()),
        context_s=tuple((np.concatenate([[0.0], slope]) * factor).tolist()),
        prompt_s=(long / LONG - pair * LONG / 2) * factor,
        pair_s=pair * factor,
        request_s=priors.request_s,
    )


def scheduler_of(of: Deployment, trace: Trace) -> Scheduler:
    """Return how an engine on `of` fills its steps, with the memory that the weights leave."""
    length = float(np.quantile(trace.prompt + trace.answer, 0.9))
    return Scheduler(sequences=MOST_SEQUENCES, step_tokens=CHUNK, cache_tokens=of.most_sequences(length) * length)
