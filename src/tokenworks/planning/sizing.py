"""How many copies of a model the busiest hour needs: the fewest whose simulated percentiles keep the targets."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from tokenworks.core.errors import ConfigError
from tokenworks.planning.batching import Cost, Scheduler
from tokenworks.planning.calibration import Calibration
from tokenworks.planning.linear import cost_of, scheduler_of
from tokenworks.planning.machine import Machine
from tokenworks.planning.simulate import MOST_REPLICAS, Outcome, simulate
from tokenworks.planning.step import Deployment
from tokenworks.planning.trace import Trace
from tokenworks.planning.workload import Targets

ENOUGH = 8000  # requests that give a 95th percentile; of more, the first of the busiest hour are taken
MOST_COPIES = 100_000
SPARE = 0.8  # of the target: what a steady state may take, so that bursts have room


class Sized(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment in as many copies as needed, and what the busiest hour is like then."""

    deployment: Deployment
    copies: int
    ttft_p50_s: float
    ttft_p95_s: float
    tpot_p50_s: float
    tpot_p95_s: float
    latency_p50_s: float
    latency_p95_s: float
    peak_utilisation: float
    peak_tokens_per_s: float  # of answers, by all copies
    full_tokens_per_s: float  # of answers, that one copy makes in its steady state within the targets

    @property
    def devices(self) -> int:
        """Return the devices of all copies."""
        return self.copies * self.deployment.devices


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine's steps cost, and how it fills them: predicted, or measured on it."""

    cost: Cost
    scheduler: Scheduler
    how: str
    error: float  # how far predictions may be off, as a share


def served(of: Deployment, trace: Trace, calibration: Calibration) -> Served | None:
    """Return what the step-time model says of `of` on `trace`, None where the longest request does not fit."""
    if not of.most_sequences(float((trace.prompt + trace.answer).max())):
        return None
    return Served(
        cost=cost_of(of, trace, calibration),
        scheduler=scheduler_of(of, trace),
        how=calibration.how,
        error=calibration.error,
    )


def size(of: Deployment, trace: Trace, targets: Targets, by: Served) -> Sized | None:
    """Return the fewest copies that keep `targets` on `trace` (its busiest hour), None where no number does."""
    cost, scheduler = by.cost, by.scheduler
    if float((trace.prompt + trace.answer).max()) > scheduler.cache_tokens:
        return None
    # Trials with many copies take an eighth part of each: what is simulated never exceeds ENOUGH requests by much.
    most = _most(cost, scheduler, trace, targets)
    if most is None:
        return None
    low, copies = 0, most
    found = _tried(trace, cost, scheduler, copies)
    while not keeps(found, targets):
        low, copies = copies, copies * 2
        if copies > MOST_COPIES:
            return None
        found = _tried(trace, cost, scheduler, copies)
    while copies - low > max(1, copies // 64):
        middle = (low + copies) // 2
        trial = _tried(trace, cost, scheduler, middle)
        if keeps(trial, targets):
            copies, found = middle, trial
        else:
            low = middle
    return _sized(of, copies, found, trace, targets, by)


def keeps(found: Outcome, targets: Targets) -> bool:
    """Return whether 95 of 100 requests see what the targets say."""
    return (
        found.percentile("ttft_s", 0.95) <= targets.ttft_p95_s
        and found.percentile("tpot_s", 0.95) <= targets.tpot_p95_s
        and (not targets.latency_p95_s or found.percentile("latency_s", 0.95) <= targets.latency_p95_s)
    )


def steady(cost: Cost, trace: Trace, targets: Targets, cache_tokens: float = math.inf) -> float:
    """Return the answer tokens per second of a copy in the steady state with the most requests that keep the target.

    Each of the others begins anew once per answer, and its prompt is read in between.
    """
    prompt, answer = float(trace.prompt.mean()), float(trace.answer.mean())
    counts = np.arange(1, len(cost.step_s))
    fits = counts * (prompt + answer / 2) <= cache_tokens
    step = np.array(cost.step_s[1:]) + np.array(cost.context_s[1:]) * counts * (prompt + answer / 2)
    reading = prompt * cost.prompt_s + prompt**2 / 2 * cost.pair_s
    each = step + (counts - 1) * reading / answer
    able = fits & (each <= targets.tpot_p95_s * SPARE)
    return float(np.where(able, counts / each, 0).max()) if able.any() else 0.0


def deployments(model_of: Deployment, machine: Machine, devices: int) -> list[Deployment]:
    """Return the ways to put the model on 1, 2, 4 ... devices of `machine`, or on `devices` where that is not 0."""
    counts = [devices] if devices else [2**power for power in range(int(math.log2(machine.devices)) + 1)]
    if devices > machine.devices:
        raise ConfigError(f"{devices} devices: at most {machine.devices} of these share a model")
    return [
        msgspec.structs.replace(model_of, machine=machine, tensor=count, precision=precision_on(model_of, machine))
        for count in counts
    ]


def precision_on(of: Deployment, machine: Machine) -> str:
    """Return the precision asked for, or of `auto` the narrowest that costs no accuracy worth naming on `machine`."""
    if of.precision != "auto":
        return of.precision
    if of.model.bits < 8:
        return "fp4" if machine.fp4_tflops else "int4"
    return "fp8" if machine.fp8_tflops else "bf16"


def _most(cost: Cost, scheduler: Scheduler, trace: Trace, targets: Targets) -> int | None:
    """Return a first guess from the work there is, or None where even a lone request misses a target."""
    middle = trace.first(1)
    length = np.quantile(trace.prompt, 0.9)
    lone = type(trace)(middle.arrival_s, np.array([int(length)]), np.array([max(int(np.median(trace.answer)), 2)]))
    if not keeps(simulate(lone, cost, scheduler), targets):
        return None
    batch = min(32, len(cost.step_s) - 1)
    context = float(np.mean(trace.prompt + trace.answer / 2))
    token_s = (cost.step_s[batch] + cost.context_s[batch] * batch * context) / batch
    prompt, answer = trace.tokens
    work = answer * token_s + prompt * cost.prompt_s + float((trace.prompt**2).sum()) / 2 * cost.pair_s
    return max(1, math.ceil(work / trace.span_s))


def _tried(trace: Trace, cost: Cost, scheduler: Scheduler, copies: int) -> Outcome:
    share = min(1.0, MOST_REPLICAS / copies)
    return simulate(trace.first(math.ceil(ENOUGH / share)), cost, scheduler, copies)


def _sized(of: Deployment, copies: int, found: Outcome, trace: Trace, targets: Targets, by: Served) -> Sized:
    return Sized(
        deployment=of,
        copies=copies,
        ttft_p50_s=found.percentile("ttft_s", 0.5),
        ttft_p95_s=found.percentile("ttft_s", 0.95),
        tpot_p50_s=found.percentile("tpot_s", 0.5),
        tpot_p95_s=found.percentile("tpot_s", 0.95),
        latency_p50_s=found.percentile("latency_s", 0.5),
        latency_p95_s=found.percentile("latency_s", 0.95),
        peak_utilisation=found.utilisation,
        peak_tokens_per_s=found.tokens_per_s,
        full_tokens_per_s=steady(by.cost, trace, targets, by.scheduler.cache_tokens),
    )
