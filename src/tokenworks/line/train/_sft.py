"""The loop of supervised fine-tuning: full or LoRA, loss on assistant tokens only, resumable to the same weights.

Our own loop, with peft for the adapters: docs/decisions/0052-own-tuning-loop.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from tokenworks.core.errors import DataError, MissingExtraError
from tokenworks.core.stage import Progress
from tokenworks.line.train._chat_tokens import Sample
from tokenworks.line.train._checkpoint import load_tensors, save_tensors
from tokenworks.line.train.causal.allocator import kept_memory

if TYPE_CHECKING:
    from torch import Tensor, nn

CHECKPOINT_EVERY_S = 20.0
CLIP = 1.0
WARMUP = 0.05  # of all steps
# Their logits are hidden states times the output matrix and nothing else, so only trained positions need them.
PLAIN_HEADS = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the weights besides data and base. It is part of the plan, so that every run does the same."""

    method: str  # full | lora
    steps: int
    learning_rate: float
    precision: str  # f32 | bf16
    batch_tokens: int  # padding included
    max_length: int
    rank: int
    seed: int


@dataclass
class Trainee:
    """A model on its way: the causal model, and what of it is trained."""

    model: Any  # transformers' causal model, with adapters inside it where the method is lora
    wrapped: Any  # peft's view of the same model, or the model itself
    trained: dict[str, nn.Parameter]
    precision: str


def load_base(folder: Path, *, precision: str = "f32") -> Any:
    """Return the causal model in `folder`; raise `DataError` naming what is wrong with it."""
    try:
        import torch  # heavy: only training pays for it
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError:
        raise MissingExtraError("tuning a model", "train") from None
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} has no config.json: give a Hugging Face folder of a causal language model")
    if not any(folder.glob("*.safetensors")):
        raise DataError(f"{folder} has no .safetensors weights, and nothing that unpickles is loaded: convert it")
    logging.disable_progress_bar()  # ours is the one that people see
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{folder} cannot be loaded as a causal language model: {reason}") from None


def trainee(folder: Path, recipe: Recipe) -> Trainee:
    """Return the base in `folder`, ready to be trained by `recipe`. The same seed gives the same first adapters."""
    import torch

    torch.manual_seed(recipe.seed)
    # Frozen weights may be kept in bf16; those that are trained stay f32, or small steps would round to none.
    frozen = recipe.precision if recipe.method == "lora" else "f32"
    model = load_base(folder, precision=frozen)
    model.config.use_cache = False
    wrapped = model
    if recipe.method == "lora":
        wrapped = with_adapter(model, recipe.rank)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    for value in trained.values():
        value.data = value.data.float()
    model.train()
    return Trainee(model, wrapped, trained, recipe.precision)


def with_adapter(model: Any, rank: int) -> Any:
    """Put a LoRA adapter into every linear layer of `model`; return peft's view of it."""
    from peft import LoraConfig, TaskType, get_peft_model  # heavy: 8 s of CPU to import

    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type=TaskType.CAUSAL_LM
    )
    return get_peft_model(model, config)


def batches(samples: Sequence[Sample], *, batch_tokens: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield sample numbers batch by batch, epoch after epoch without end, in an order that only `seed` decides.

    Samples of similar length share a batch, whose padded size is at most `batch_tokens` unless one sample is longer.
    """
    lengths = np.array([len(sample.ids) for sample in samples])
    epoch = 0
    while True:
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(samples))
        order = order[np.argsort(lengths[order] // 16, kind="stable")]
        epoch_batches, batch = list[list[int]](), list[int]()
        for number in order:
            if batch and (len(batch) + 1) * int(lengths[number] | 15) > batch_tokens:
                epoch_batches.append(batch)
                batch = []
            batch.append(int(number))
        epoch_batches.append(batch)
        for place in rng.permutation(len(epoch_batches)):
            yield np.array(epoch_batches[place], np.int64)
        epoch += 1


def batch_loss(trained: Trainee, samples: Sequence[Sample]) -> Tensor:
    """Return the mean cross entropy, in nats, of the assistant tokens of a padded batch."""
    import torch
    from torch.nn import functional

    longest = max(len(sample.ids) for sample in samples)
    ids = torch.zeros((len(samples), longest), dtype=torch.long)
    mask, wanted = torch.zeros_like(ids), torch.zeros((len(samples), longest), dtype=torch.bool)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.from_numpy(sample.ids)
        mask[row, : len(sample.ids)] = 1
        wanted[row, : len(sample.ids)] = torch.from_numpy(sample.trained)
    wanted = wanted[:, 1:]  # the token at t is predicted at t - 1
    targets = ids[:, 1:][wanted]
    with torch.autocast("cpu", torch.bfloat16, enabled=trained.precision == "bf16"):
        if trained.model.config.model_type in PLAIN_HEADS:
            hidden = trained.model.model(input_ids=ids, attention_mask=mask).last_hidden_state
            logits = trained.model.lm_head(hidden[:, :-1][wanted])
        else:
            logits = trained.model(input_ids=ids, attention_mask=mask).logits[:, :-1][wanted]
    return functional.cross_entropy(logits.float(), targets)


def train(
    folder: Path, samples: Sequence[Sample], recipe: Recipe, *, scratch: Path, threads: int, progress: Progress
) -> tuple[Trainee, list[float]]:
    """Train the base in `folder` for `recipe.steps`; return it with the loss of each step.

    A checkpoint in `scratch` is taken up where it ends. What a step does depends on the weights, the optimiser's
    state, the seed and the step's number alone, so a killed run ends in the same weights (same machine and threads).
    """
    import torch

    torch.set_num_threads(threads)
    learner = trainee(folder, recipe)
    optimiser = torch.optim.AdamW(learner.trained.values(), lr=recipe.learning_rate, weight_decay=0.0, fused=True)
    path = scratch / "tune.checkpoint"
    losses = _restore(path, learner, optimiser)
    saved = started = time.monotonic()
    done_before = len(losses)
    order = batches(samples, batch_tokens=recipe.batch_tokens, seed=recipe.seed)
    with kept_memory():
        for step, numbers in zip(range(recipe.steps), order, strict=False):
            if step < done_before:
                continue
            losses.append(_step(learner, optimiser, [samples[number] for number in numbers], recipe, step))
            now = time.monotonic()
            rate = (step + 1 - done_before) / (now - started)
            progress(step + 1, recipe.steps, unit="steps", note=f"loss {losses[-1]:.3f}, {rate:.2f} steps/s")
            if now - saved > CHECKPOINT_EVERY_S:
                _save(path, learner, optimiser, losses)
                saved = now
    return learner, losses


def _step(learner: Trainee, optimiser: Any, samples: Sequence[Sample], recipe: Recipe, step: int) -> float:
    """Move the weights once; return the loss before the move."""
    import torch

    torch.manual_seed(recipe.seed * 1_000_003 + step)  # for bases with dropout: the state to resume is the step
    loss = batch_loss(learner, samples)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learner.trained.values(), CLIP)
    for group in optimiser.param_groups:
        group["lr"] = recipe.learning_rate * schedule(step, recipe.steps)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    if not math.isfinite(value := float(loss.detach())):
        raise DataError(f"the loss is {value} at step {step}: lower learning_rate from {recipe.learning_rate:g}")
    return value


def schedule(step: int, steps: int) -> float:
    """Return the share of the learning rate at `step`: a short linear warm-up, then linearly down to nothing."""
    warmup = max(1, round(WARMUP * steps))
    return min(1.0, (step + 1) / warmup) * (1 - step / steps)


def _save(path: Path, learner: Trainee, optimiser: Any, losses: list[float]) -> None:
    import torch

    tensors = {"losses": torch.tensor(losses, dtype=torch.float64)}
    for name, value in learner.trained.items():
        state = optimiser.state[value]
        tensors |= {f"weight.{name}": value.data, f"m.{name}": state["exp_avg"], f"v.{name}": state["exp_avg_sq"]}
        tensors[f"step.{name}"] = state["step"]
    save_tensors(path, tensors)


def _restore(path: Path, learner: Trainee, optimiser: Any) -> list[float]:
    """Put the checkpoint at `path` back and return the losses so far; without a whole checkpoint, start anew."""
    tensors = load_tensors(path)
    if tensors is None or any(f"weight.{name}" not in tensors for name in learner.trained):
        return []
    for name, value in learner.trained.items():
        value.data.copy_(tensors[f"weight.{name}"])
        optimiser.state[value] = {
            "step": tensors[f"step.{name}"],
            "exp_avg": tensors[f"m.{name}"],
            "exp_avg_sq": tensors[f"v.{name}"],
        }
    return [float(loss) for loss in tensors["losses"]]
