"""How much to train, and how: a token budget from a short measurement of this machine, written down once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.stage import Progress
from tokenworks.line.train._chat_tokens import Sample, Samples
from tokenworks.line.train._sft import Recipe, Trainee, batch_loss, batches, trainee
from tokenworks.line.train._uncompiled import uncompiled
from tokenworks.line.train.causal.allocator import kept_memory
from tokenworks.line.train.causal.budget import parse_budget

SMALL = 60_000_000  # parameters: up to here all are trained, above only adapters
PROBE_S = 3.0  # of each precision
PROBE_TOKENS = 1024  # of a batch while measuring: larger ones are no slower
SMALL_BATCH = 512  # tokens; smaller ones leave the cores waiting
STEPS_WANTED = 300  # few large steps learn less from few examples than many small ones
BF16_PAYS = 1.15  # as fast again: below that its rounding is not worth it
RESERVE = 0.85  # of the time budget: the rest is for loading, writing and a machine in a bad mood
LOGITS = 1 << 28  # numbers in one batch of logits at most, so that a large vocabulary does not fill the memory


P = TypeVar("P", bound=msgspec.Struct)


class SftPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a tuning run, as recorded."""

    method: str
    steps: int
    tokens: int
    parameters: int
    trainable: int
    expected_s: float
    tokens_per_s: float
    epochs: float
    recipe: Recipe
    why: str


def make_plan(
    base: Path, found: Samples, *, method: str, budget: str, epochs: float, learning_rate: float, rank: int, seed: int,
    batch_tokens: int, max_length: int, threads: int, progress: Progress, gentler: float = 1.0,
) -> SftPlan:  # fmt: skip
    """Measure this machine for some seconds and return what to do within `budget`.

    `gentler` is the share of the usual learning rate, where none is given.
    """
    import torch

    wanted = parse_budget(budget)
    torch.set_num_threads(threads)
    progress(0, None, note="measuring this machine")
    model = trainee(base, _recipe("full", seed=seed, rank=rank)).model
    parameters, config = sum(value.numel() for value in model.parameters()), model.config
    del model
    if method == "auto":
        method = "full" if parameters <= SMALL else "lora"
    most = min(batch_tokens, max(256, LOGITS // int(config.vocab_size)))
    rate = learning_rate or gentler * usual_rate(int(config.hidden_size), method)
    shape = {
        "learning_rate": rate,
        "batch_tokens": min(most, PROBE_TOKENS),
        "max_length": max_length,
        "rank": rank,
        "seed": seed,
    }
    speeds = {}
    for precision in ("f32", "bf16"):
        recipe = msgspec.convert({"method": method, "steps": 1, "precision": precision, **shape}, Recipe)
        learner = trainee(base, recipe)
        with kept_memory():
            speeds[precision] = _speed(learner, found.samples, recipe)
        trainable = sum(value.numel() for value in learner.trained.values())
        del learner
    precision = "bf16" if speeds["bf16"] > BF16_PAYS * speeds["f32"] else "f32"
    speed = speeds[precision]
    flops = (6 if method == "full" else 4) * parameters  # a frozen weight has no gradient of its own
    buys = {"seconds": speed * RESERVE, "flops": 1 / flops, "tokens": 1.0}
    affordable = wanted.amount * buys[wanted.kind]
    target = min(affordable, epochs * found.tokens)
    shape["batch_tokens"] = int(min(most, max(SMALL_BATCH, target / STEPS_WANTED)))
    recipe = msgspec.convert({"method": method, "steps": 1, "precision": precision, **shape}, Recipe)
    steps, tokens = _steps(found, recipe, target)
    passes = tokens / found.tokens
    return SftPlan(
        method=method, steps=steps, tokens=tokens, parameters=parameters, trainable=trainable,
        expected_s=round(tokens / speed, 1), tokens_per_s=round(speed, 1), epochs=round(passes, 3),
        recipe=msgspec.structs.replace(recipe, steps=steps),
        why=_why(method, parameters, speeds, passes, budget, affordable < epochs * found.tokens),
    )  # fmt: skip


def read_plan(data: bytes, kind: type[P]) -> P:
    """Return the plan in `data`; raise `DataError` where it is none of this kind."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise DataError(f"not a tuning plan: {error}; run the plan stage again") from None


def steps_for(plan: SftPlan, samples: Sequence[Sample], tokens: float) -> SftPlan:
    """Return `plan` for batches of other shapes: as many of `samples` as hold `tokens`."""
    found = Samples(list(samples), 0, 0)
    steps, seen = _steps(found, plan.recipe, tokens)
    return msgspec.structs.replace(
        plan, steps=steps, tokens=seen, epochs=round(seen / found.tokens, 3),
        recipe=msgspec.structs.replace(plan.recipe, steps=steps),
    )  # fmt: skip


def _recipe(method: str, *, seed: int, rank: int) -> Recipe:
    return Recipe(
        method=method, steps=1, learning_rate=1e-4, precision="f32", batch_tokens=512, max_length=512, rank=rank,
        seed=seed,
    )  # fmt: skip


def usual_rate(hidden: int, method: str) -> float:
    """Return a rate that falls with the width; adapters bear ten times that of full tuning (Schulman 2025, LoRA)."""
    full = min(1e-3, 2e-5 * 4096 / hidden)
    return full if method == "full" else min(2e-3, 10 * full)


def _speed(learner: Trainee, samples: Sequence[Sample], recipe: Recipe) -> float:
    """Return tokens per second of whole steps, the first one not counted."""
    import torch

    optimiser = uncompiled(torch.optim.AdamW)(learner.trained.values(), lr=0.0, fused=True)
    tokens, started = 0, 0.0
    order = batches(samples, batch_tokens=recipe.batch_tokens, seed=recipe.seed)
    for number, picks in enumerate(islice(order, 200)):
        batch_loss(learner, [samples[pick] for pick in picks]).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        now = time.perf_counter()
        if number == 0:
            started = now
            continue
        tokens += sum(len(samples[pick].ids) for pick in picks)
        if now - started > PROBE_S:
            break
    return tokens / (now - started)


def _steps(found: Samples, recipe: Recipe, wanted: float) -> tuple[int, int]:
    """Return (steps, tokens) of the first batches that hold `wanted` tokens; one step at least."""
    steps = tokens = 0
    for picks in batches(found.samples, batch_tokens=recipe.batch_tokens, seed=recipe.seed):
        here = sum(len(found.samples[pick].ids) for pick in picks)
        if steps and tokens + here / 2 > wanted:
            return steps, tokens
        steps, tokens = steps + 1, tokens + here
    raise AssertionError("batches never end")


def _why(
    method: str, parameters: int, speeds: dict[str, float], passes: float, budget: str, short_of_time: bool
) -> str:
    bound = f"the budget of {budget} allows no more" if short_of_time else "more passes would learn by heart"
    return (
        f"{method}: {parameters / 1e6:.1f} M parameters; {speeds['f32']:.0f} tokens/s in f32 and "
        f"{speeds['bf16']:.0f} in bf16 measured here; {passes:.2f} passes over the examples, {bound}"
    )
