"""Supervised fine-tuning of a causal model: full or LoRA, loss on assistant tokens only.

Our own loop, with peft for the adapters: docs/decisions/0052-own-tuning-loop.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from tokenworks.core.errors import DataError, MissingExtraError
from tokenworks.core.stage import Progress
from tokenworks.line.train._chat_tokens import Sample
from tokenworks.line.train._fit import Objective, fit

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    from torch.nn import functional

    logits, targets, _ = _trained_logits(trained, samples)
    return functional.cross_entropy(logits.float(), targets)


def answer_logps(trained: Trainee, samples: Sequence[Sample]) -> Tensor:
    """Return the log-probability, in nats, of all assistant tokens of each sample together [samples]."""
    logps, wanted = token_logps(trained, samples)
    return logps.new_zeros(wanted.shape).masked_scatter(wanted, logps).sum(dim=1)


def token_logps(trained: Trainee, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Return the log-probability of every assistant token, one after the other, and where they stand [samples, t]."""
    from torch.nn import functional

    logits, targets, wanted = _trained_logits(trained, samples)
    return -functional.cross_entropy(logits.float(), targets, reduction="none"), wanted


def _trained_logits(trained: Trainee, samples: Sequence[Sample]) -> tuple[Tensor, Tensor, Tensor]:
    """Return (logits [tokens, vocabulary], token ids [tokens], where they stand [samples, t]) of a padded batch."""
    import torch

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
    return logits, targets, wanted


def train(
    folder: Path, samples: Sequence[Sample], recipe: Recipe, *, scratch: Path, threads: int, progress: Progress
) -> tuple[Trainee, list[float]]:
    """Train the base in `folder` for `recipe.steps`; return it with the loss of each step.

    A checkpoint in `scratch` is taken up where it ends: a killed run ends in the same weights (`fit`).
    """
    learner = trainee(folder, recipe)
    told = fit(
        learner.trained,
        objectives(learner, samples, recipe),
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        seed=recipe.seed,
        checkpoint=scratch / "tune.checkpoint",
        threads=threads,
        progress=progress,
    )
    return learner, [loss for (loss,) in told]


def objectives(learner: Trainee, samples: Sequence[Sample], recipe: Recipe) -> Iterator[Objective]:
    """Yield what each step makes smaller: the cross entropy of its batch."""
    for numbers in batches(samples, batch_tokens=recipe.batch_tokens, seed=recipe.seed):
        yield partial(_cross_entropy, learner, [samples[number] for number in numbers])


def _cross_entropy(learner: Trainee, samples: Sequence[Sample]) -> tuple[Tensor, tuple[float, ...]]:
    return batch_loss(learner, samples), ()
