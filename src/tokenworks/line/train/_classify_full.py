"""Fine-tune every layer of the encoder under a head that was fitted first (LP-FT, Kumar 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from tokenworks.core.stage import Bench
from tokenworks.line.train._encoder_loop import Group, encoder_groups, run, steps_per_s
from tokenworks.line.train._encoder_torch import Encoder, batches_by_length, embed_rows, pad
from tokenworks.line.train._head import calibrate, fit_head, judge, noisy_nll
from tokenworks.line.train._unlabelled import guesses

if TYPE_CHECKING:
    from torch import Tensor

Ids = NDArray[np.int64]
PEAK = 1e-4  # learning rate of the top layer
HEAD_PEAK = 5e-3
SMOOTHING = 0.1  # of the labels
HELD_OUT = (0.1, 300)  # share of the rows, and the most rows, that calibrate and judge
HELD_OUT_MIN_ROWS = 200
WARM_STEPS, TIMED_STEPS = 3, 8


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """How long and from what to train."""

    steps: int
    batch: int
    bf16: bool
    seed: int
    strength: float  # of the head that it starts from
    noise: float = 0.0  # share of the labels that say nothing
    temperature: float = 1.0  # of the head's guesses at requests without a label


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Requests without a label: the head's guesses are learned beside the labels (Yarowsky 1995; Xie 2020)."""

    rows: list[Ids]
    frozen: Tensor  # [requests, dim], by the base


class HeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """Both methods on rows that neither has seen."""

    rows: int
    accuracy: float
    nll: float  # after calibration, nats
    head_accuracy: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A fine-tuned model, its encoder changed in place."""

    head: tuple[Tensor, Tensor]
    temperature: float
    held_out: HeldOut | None
    losses: list[float]

    @property
    def head_is_better(self) -> bool:
        """Return whether the head over the frozen encoder got more held-out rows right."""
        return self.held_out is not None and self.held_out.head_accuracy > self.held_out.accuracy


def train_full(
    encoder: Encoder,
    rows: Sequence[Ids],
    targets: Tensor,
    frozen: Tensor,
    loop: Loop,
    bench: Bench,
    *,
    weights: Tensor | None = None,
    asked: Asked | None = None,
) -> Outcome:
    """Fine-tune `encoder` in place on all rows but the held-out ones; return the calibrated head and the evidence.

    Guesses at `asked` are those of a head that has not seen the held-out rows either.
    """
    import torch

    classes = int(targets.max()) + 1
    learn, held = split(targets.numpy(), loop.seed)
    counts = torch.ones(len(learn)) if weights is None else weights[learn]
    about = frozen[learn], targets[learn], classes, loop.strength
    first, known = fit_head(*about, noise=loop.noise, weights=counts), targets[torch.from_numpy(learn)]
    short = use_own_words(encoder, [*rows, *(asked.rows if asked else ())])
    taught = [short[at] for at in learn]
    if asked is not None:
        extra = guesses(asked.frozen, first, loop.temperature)
        first = fit_head(*about, noise=loop.noise, weights=counts, extra=extra)
        taught, known = [*taught, *short[len(rows) :]], torch.cat([known, extra.targets])
        counts = torch.cat([counts, extra.weights])
    head = (first[0].clone(), first[1].clone())
    losses = _fit(encoder, head, taught, known, counts, loop, bench)
    if not len(held):
        return Outcome(head=head, temperature=1.0, held_out=None, losses=losses)
    found = embed_rows(encoder, [short[at] for at in held], bf16=loop.bf16)
    logits, truth = found @ head[0].T + head[1], targets[held]
    temperature = calibrate(logits, truth, loop.noise)
    accuracy, nll = judge(logits / temperature, truth, loop.noise)
    head_accuracy, _ = judge(frozen[held] @ first[0].T + first[1], truth)
    evidence = HeldOut(rows=len(held), accuracy=accuracy, nll=nll, head_accuracy=head_accuracy)
    calibrated = (head[0] / temperature, head[1] / temperature)
    return Outcome(head=calibrated, temperature=temperature, held_out=evidence, losses=losses)


def split(targets: Ids, seed: int) -> tuple[Ids, Ids]:
    """Return rows to learn from and rows held out; two rows of every class stay to learn from."""
    share, most = HELD_OUT
    wanted = min(most, int(len(targets) * share)) if len(targets) >= HELD_OUT_MIN_ROWS else 0
    left = np.bincount(targets)
    held: list[int] = []
    for at in np.random.default_rng([seed, 2]).permutation(len(targets)):
        if len(held) == wanted:
            break
        if left[targets[at]] > 2:
            left[targets[at]] -= 1
            held.append(int(at))
    chosen = np.array(sorted(held), np.int64)
    return np.setdiff1d(np.arange(len(targets)), chosen), chosen


def use_own_words(encoder: Encoder, rows: Sequence[Ids]) -> list[Ids]:
    """Cut the encoder's word table down to the words of `rows`; return the rows counted within it.

    Words that no row has get no gradient and no decay, so the result is the same with a tenth of the work.
    """
    used = np.unique(np.concatenate([*rows, np.array([encoder.config.pad_token_id])]))
    encoder.use_words(used)
    return [np.searchsorted(used, row) for row in rows]


def _fit(
    encoder: Encoder,
    head: tuple[Tensor, Tensor],
    rows: list[Ids],
    targets: Tensor,
    weights: Tensor | None,
    loop: Loop,
    bench: Bench,
) -> list[float]:
    groups = [*encoder_groups(encoder, PEAK), Group({"head.weight": head[0], "head.bias": head[1]}, HEAD_PEAK)]
    step_loss = _StepLoss(encoder, head, rows, targets, loop, weights)
    losses = run(groups, step_loss, loop.steps, bench.scratch / "checkpoint.tensors", bench.progress)
    encoder.draws = None
    return losses


class _StepLoss:
    """The loss of step n: its batch and its dropout follow from the seed and n."""

    def __init__(
        self,
        encoder: Encoder,
        head: tuple[Tensor, Tensor],
        rows: list[Ids],
        targets: Tensor,
        loop: Loop,
        weights: Tensor | None = None,
    ) -> None:
        import torch

        self.encoder, self.head, self.rows, self.targets, self.loop = encoder, head, rows, targets, loop
        self.weights = torch.ones(len(rows)) if weights is None else weights
        self.lengths = [len(row) for row in rows]
        self.per_epoch = -(-len(rows) // loop.batch)
        self.epoch, self.batches = -1, list[Ids]()
        encoder.draws = torch.Generator()

    def __call__(self, step: int) -> Tensor:
        import torch
        from torch.nn.functional import cross_entropy

        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            rng = np.random.default_rng([self.loop.seed, 3, epoch])
            self.epoch, self.batches = epoch, batches_by_length(self.lengths, self.loop.batch, rng)
        batch = self.batches[place]
        assert self.encoder.draws is not None
        self.encoder.draws.manual_seed((self.loop.seed << 32) + step)
        ids, mask = pad([self.rows[at] for at in batch], 0)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.loop.bf16):
            embeddings = self.encoder.forward(ids, mask)
        logits = embeddings @ self.head[0].T + self.head[1]
        chosen = torch.from_numpy(batch)
        targets, weights = self.targets[chosen], self.weights[chosen]
        if self.loop.noise:
            each = noisy_nll(logits, targets, self.loop.noise)
        else:
            each = cross_entropy(logits, targets, label_smoothing=SMOOTHING, reduction="none")
        return (weights * each).sum() / weights.sum()


def measure_steps(
    encoder: Encoder, rows: Sequence[Ids], targets: Sequence[int], classes: int, *, bf16: bool, batch: int, seed: int
) -> float:
    """Return rows per second of real training steps. It spoils the encoder's weights."""
    import torch

    short = use_own_words(encoder, rows)
    size = encoder.config.hidden_size
    head = (torch.zeros(classes, size), torch.zeros(classes))
    loop = Loop(steps=0, batch=batch, bf16=bf16, seed=seed, strength=1.0)
    step_loss = _StepLoss(encoder, head, short, torch.tensor(targets), loop)
    groups = [*encoder_groups(encoder, PEAK), Group({"head.weight": head[0], "head.bias": head[1]}, HEAD_PEAK)]
    rate = steps_per_s(groups, lambda step: step_loss(step % step_loss.per_epoch), warm=WARM_STEPS, timed=TIMED_STEPS)
    return rate * min(batch, len(rows))
