"""The objective of direct preference optimisation, and what the base says of each pair before anything moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tokenworks.core.stage import Progress
from tokenworks.line.train._chat_tokens import Sample
from tokenworks.line.train._checkpoint import load_tensors, save_tensors
from tokenworks.line.train._fit import Objective
from tokenworks.line.train._preferences import Pair
from tokenworks.line.train._sft import Recipe, Trainee, answer_logps, batch_loss, batches

if TYPE_CHECKING:
    from torch import Tensor

FIGURES = ("preferred", "margin", "sft_loss")  # what a step tells beside its loss


def reference(learner: Trainee, pairs: Sequence[Pair], recipe: Recipe, path: Path, progress: Progress) -> Tensor:
    """Return the log-probabilities of (chosen, rejected) under the base [pairs, 2], once worked out kept at `path`.

    Called before the first step, when learner and base are still the same: so no second model is held in memory.
    """
    import torch  # heavy: only training pays for it

    kept = load_tensors(path)
    if kept is not None and len(kept["logps"]) == len(pairs):
        return kept["logps"]
    found = torch.zeros((len(pairs), 2))
    learner.model.eval()
    done = 0
    with torch.no_grad():
        for numbers in _once(pairs, recipe.batch_tokens):
            found[numbers] = pair_logps(learner, [pairs[number] for number in numbers])
            done += len(numbers)
            progress(done, len(pairs), unit="pairs", note="what the base says of them")
    learner.model.train()
    save_tensors(path, {"logps": found})
    return found


def objectives(
    learner: Trainee, pairs: Sequence[Pair], known: Tensor, recipe: Recipe, *,
    beta: float, earlier: Sequence[Sample] = (), replay: float = 0.0,
) -> Iterator[Objective]:  # fmt: skip
    """Yield what each step makes smaller: the preference loss of a batch, mixed with that of earlier answers."""
    room = max(1, round(recipe.batch_tokens * replay / (1 - replay))) if earlier and replay else 0
    order = batches(earlier, batch_tokens=room, seed=recipe.seed + 1) if room else None
    for numbers in batches([pair.shape for pair in pairs], batch_tokens=recipe.batch_tokens, seed=recipe.seed):
        again = [earlier[number] for number in next(order)] if order else []
        yield partial(
            _mixed, learner, [pairs[number] for number in numbers], known[numbers], again, beta, replay if again else 0
        )


def dpo_loss(answers: Tensor, known: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    """Return (mean loss, margins [pairs]) from log-probabilities [pairs, 2] of (chosen, rejected).

    -log sigmoid(beta * margin), margin = how much more than the base the policy prefers the chosen answer
    (Rafailov 2023, eq. 7).
    """
    from torch.nn import functional

    moved = answers - known
    margins = beta * (moved[:, 0] - moved[:, 1])
    return -functional.logsigmoid(margins).mean(), margins


def pair_logps(learner: Trainee, pairs: Sequence[Pair]) -> Tensor:
    """Return the summed log-probability of each answer's tokens [pairs, 2]: chosen, rejected."""
    both = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    return answer_logps(learner, both).view(2, len(pairs)).T


def _mixed(
    learner: Trainee, pairs: Sequence[Pair], known: Tensor, again: Sequence[Sample], beta: float, replay: float
) -> tuple[Tensor, tuple[float, ...]]:
    loss, margins = dpo_loss(pair_logps(learner, pairs), known, beta=beta)
    sft = 0.0
    if again:
        earlier = batch_loss(learner, again)
        sft = float(earlier.detach())
        loss = (1 - replay) * loss + replay * earlier
    return loss, (float((margins > 0).float().mean()), float(margins.detach().mean()), sft)


def _once(pairs: Sequence[Pair], batch_tokens: int) -> Iterator[list[int]]:
    """Yield every pair once, by length."""
    order = sorted(range(len(pairs)), key=lambda number: len(pairs[number].shape.ids))
    batch = list[int]()
    for number in order:
        if batch and (len(batch) + 1) * len(pairs[number].shape.ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(number)
    yield batch
