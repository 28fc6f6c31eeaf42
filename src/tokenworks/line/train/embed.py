"""Adapt the embedding model to the documents, and to what people looked for in them.

Pairs mined from the documents, and queries with the document that was clicked, are pulled together against the rest
of their batch (multiple negatives ranking, Henderson 2017). The result is the base, the adapted weights or their
mean, whichever finds most among documents that training never saw: the model is kept as it was when it learns nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tokenworks.core.corpus import read_parts
from tokenworks.core.encoder_folder import Card
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.train._click_pairs import Material, cheap, material
from tokenworks.line.train._clicks import Clicked, read_clicks
from tokenworks.line.train._encoder_loop import encoder_groups, run, steps_per_s
from tokenworks.line.train._encoder_out import write_folder
from tokenworks.line.train._encoder_torch import (
    Encoder,
    batches_by_length,
    embed_rows,
    has_bf16,
    load_encoder,
    pad,
    prepare,
)
from tokenworks.line.train._pairs import Pair, mine
from tokenworks.line.train._tokens import tokenize

if TYPE_CHECKING:
    from torch import Tensor

Ids = NDArray[np.int64]
VERSION = "2"
BATCH = 32
PEAK = 3e-5
SCALE = 20.0  # of the cosine, as sentence-transformers has it
MAX_TOKENS = 128
MAX_PASSES = 3.0
MIN_PAIRS = 200  # fewer teach nothing and cannot be judged
JUDGED = 500  # held-out pairs, at most
JUDGED_CLICKS = 20  # held-out clicks, at least: fewer do not decide
RIVALS = 1500  # other passages among which a held-out click must find its own
MIXES = (0.0, 0.5, 1.0)  # share of the adapted weights (weight averaging, Wortsman 2022)
RESERVE = 0.75  # of the budget for steps; the rest judges
WARM_STEPS, TIMED_STEPS = 2, 4


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of the embedding model."""

    budget_s: float = 120.0
    base: str = "minilm"
    seed: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What TRAIN will do, to the step."""

    method: str  # contrastive | keep
    steps: int
    epochs: float
    batch: int
    pairs: int
    judged: int
    tokens: int
    parameters: int
    bf16: bool
    rows_per_s: float  # pairs
    expected_s: float
    why: str


def plan_embed(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    """Mine the pairs, measure this machine on them and fix the steps."""
    prepare(bench.threads)
    base = bench.artifacts.folder(inputs["base"])
    pairs = _gather(inputs, params.seed, bench, None)
    encoder, bf16 = load_encoder(base), has_bf16()
    enough = min(len(pairs.learn), 10 * (len(pairs.judge) + len(pairs.judge_clicks))) >= MIN_PAIRS
    rate = _rate(encoder, base, pairs.learn, bf16, params.seed) if enough else 0.0
    seconds = params.budget_s * RESERVE
    passes = min(MAX_PASSES, seconds * rate / len(pairs.learn)) if enough else 0.0
    steps = int(passes * len(pairs.learn) / BATCH)
    why = f"{passes:.2f} passes over {len(pairs.learn)} pairs fit into {params.budget_s:.0f} s"
    if not enough:
        why = f"{len(pairs.learn)} pairs ({len(pairs.judge)} to judge by) are too few; the base is kept as it is"
    lengths = [
        len(row) for row in tokenize(base, [pair.positive for pair in pairs.learn[:1000]], max_tokens=MAX_TOKENS)
    ]
    plan = Plan(
        method="contrastive" if steps else "keep",
        steps=steps,
        epochs=round(passes, 3),
        batch=BATCH,
        pairs=len(pairs.learn),
        judged=min(JUDGED, len(pairs.judge)),
        tokens=round(steps * BATCH * 1.3 * float(np.mean(lengths))) if steps else 0,
        parameters=sum(tensor.numel() for tensor in encoder.weights.values()) if steps else 0,
        bf16=bf16,
        rows_per_s=round(rate, 1),
        expected_s=round(steps * BATCH / rate + params.budget_s * (1 - RESERVE), 1) if steps else 1.0,
        why=why,
    )
    return {"plan": bench.artifacts.put_bytes(msgspec.json.encode(plan))}


def train_embed(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    """Train as planned; return the model folder and the log."""
    prepare(bench.threads)
    plan = msgspec.json.decode(bench.artifacts.get_bytes(inputs["plan"]), type=Plan)
    base = bench.artifacts.folder(inputs["base"])
    weights: dict[str, Tensor] | None = None
    found: dict[float, float] = {}
    losses: list[float] = []
    share, clicks = 0.0, _count(inputs, bench)
    if plan.steps:
        pairs = _gather(inputs, params.seed, bench, load_encoder(base))
        made = _adapt(base, pairs, plan, params.seed, bench)
        share, weights, found, losses = made.share, made.weights, made.found, made.losses
        clicks = {**clicks, "judged": len(pairs.judge_clicks), "held_out_mrr": _rounded(made.found_clicks)}
    description = f"A sentence encoder ({params.base}) " + (
        f"adapted to {plan.pairs} text pairs from the documents and their use" if share else "as it was"
    )
    folder = bench.scratch / "model"
    write_folder(folder, base, Card(kind="embed", base=params.base, description=description), weights=weights)
    log: dict[str, Any] = {
        "method": plan.method,
        "share_adapted": share,
        "held_out_mrr": _rounded(found),
        "clicks": clicks,
        "judged": plan.judged,
        "losses": losses,
        "notes": [] if share else ["the adapted weights found no more held-out pairs; the base was kept"],
    }
    return {"model": bench.artifacts.put_folder(folder), "log": bench.artifacts.put_bytes(msgspec.json.encode(log))}


def _gather(inputs: Mapping[str, str], seed: int, bench: Bench, encoder: Encoder | None) -> Material:
    """Return what to learn from and to judge by; without `encoder`, what costs as much to learn from."""
    folder = bench.artifacts.folder(inputs["corpus"])
    pairs, clicked = mine(read_parts(folder), seed), _clicked(inputs, bench)
    if clicked is None or not clicked.queries:
        return Material(learn=pairs.learn, judge=pairs.judge)
    if encoder is None:
        return cheap(pairs, clicked)
    return material(pairs, clicked, encoder, bench.artifacts.folder(inputs["base"]), bf16=has_bf16())


def _clicked(inputs: Mapping[str, str], bench: Bench) -> Clicked | None:
    if not inputs.get("clicks"):
        return None
    with bench.artifacts.open(inputs["clicks"]) as lines:
        return read_clicks(lines, read_parts(bench.artifacts.folder(inputs["corpus"])))


def _count(inputs: Mapping[str, str], bench: Bench) -> dict[str, Any]:
    clicked = _clicked(inputs, bench)
    if clicked is None:
        return {}
    return {"rows": clicked.rows, "used": len(clicked.queries), "unknown": clicked.unknown}


def _rounded(found: Mapping[float, float]) -> dict[str, float]:
    return {str(mix): round(value, 4) for mix, value in found.items()}


class _Adapted(msgspec.Struct, frozen=True, kw_only=True):
    """The best mixture and how each one ranked what training never saw."""

    share: float
    weights: dict[str, Tensor] | None  # None: the base's own
    found: dict[float, float]  # mean reciprocal rank of the mined pairs, by mixture
    found_clicks: dict[float, float]  # and of the clicks; empty where too few are held out
    losses: list[float]


def _adapt(base: Path, pairs: Material, plan: Plan, seed: int, bench: Bench) -> _Adapted:
    """Train, judge every mixture and return the best one."""
    encoder = load_encoder(base)
    loss_of = _StepLoss(encoder, base, pairs.learn, plan.bf16, seed)
    losses = run(
        encoder_groups(encoder, PEAK), loss_of, plan.steps, bench.scratch / "checkpoint.tensors", bench.progress
    )
    encoder.draws = None
    before, after = load_encoder(base).weights, encoder.weights
    found, found_clicks = dict[float, float](), dict[float, float]()
    for mix in MIXES:
        encoder.weights = {name: before[name].lerp(after[name], mix) for name in before}
        if judge := pairs.judge[: plan.judged]:
            found[mix] = mean_reciprocal_rank(encoder, base, judge, plan.bf16)
        if len(asked := pairs.judge_clicks[:JUDGED]) >= JUDGED_CLICKS:
            found_clicks[mix] = mean_reciprocal_rank(encoder, base, asked, plan.bf16, pairs.rivals[:RIVALS])
    share = best_mixture(found, found_clicks)
    encoder.weights = {name: before[name].lerp(after[name], share) for name in before}
    weights = encoder.folder_weights() if share else None
    return _Adapted(share=share, weights=weights, found=found, found_clicks=found_clicks, losses=losses)


def best_mixture(found: Mapping[float, float], clicks: Mapping[float, float]) -> float:
    """Return the share of adapted weights that finds most clicks and no fewer mined pairs than the base.

    Without judged clicks the mined pairs decide. On a tie the smaller share wins: the base, where it is among them.
    """
    decides = clicks or found
    allowed = [mix for mix in decides if not found or found[mix] >= found[0.0]]
    return max(allowed, key=lambda mix: (decides[mix], -mix), default=0.0)


def mean_reciprocal_rank(
    encoder: Encoder, base: Path, pairs: Sequence[Pair], bf16: bool, rivals: Sequence[Pair] = ()
) -> float:
    """Return the mean of 1 / rank of each anchor's own text among all texts and those of `rivals`.

    Texts of the same document do not compete.
    """
    import torch

    everything = [*pairs, *rivals]
    anchors = embed_rows(encoder, tokenize(base, [pair.anchor for pair in pairs], max_tokens=MAX_TOKENS), bf16=bf16)
    texts = embed_rows(
        encoder, tokenize(base, [pair.positive for pair in everything], max_tokens=MAX_TOKENS), bf16=bf16
    )
    numbers = torch.tensor([pair.document for pair in everything])
    others = numbers[: len(pairs), None] != numbers[None]
    scores = anchors @ texts.T
    ranks = 1 + ((scores > scores.diagonal()[:, None]) & others).sum(1)
    return float((1.0 / ranks).mean())


class _StepLoss:
    """The loss of step n: its batch and its dropout follow from the seed and n."""

    def __init__(self, encoder: Encoder, base: Path, pairs: Sequence[Pair], bf16: bool, seed: int) -> None:
        import torch

        self.encoder, self.bf16, self.seed = encoder, bf16, seed
        self.anchors = tokenize(base, [pair.anchor for pair in pairs], max_tokens=MAX_TOKENS)
        self.positives = tokenize(base, [pair.positive for pair in pairs], max_tokens=MAX_TOKENS)
        self.hard = tokenize(base, [pair.hard for pair in pairs], max_tokens=MAX_TOKENS)
        self.has_hard = np.array([bool(pair.hard) for pair in pairs])
        self.documents = torch.tensor([pair.document for pair in pairs])
        self.lengths = [len(row) for row in self.positives]
        self.per_epoch = -(-len(pairs) // BATCH)
        self.epoch, self.batches = -1, list[Ids]()
        encoder.draws = torch.Generator()

    def __call__(self, step: int) -> Tensor:
        import torch
        from torch.nn.functional import cross_entropy

        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            self.epoch = epoch
            self.batches = batches_by_length(self.lengths, BATCH, np.random.default_rng([self.seed, 4, epoch]))
        chosen = self.batches[place]
        assert self.encoder.draws is not None
        self.encoder.draws.manual_seed((self.seed << 32) + step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            anchors = self.encoder.forward(*pad([self.anchors[at] for at in chosen], 0))
            hard = [self.hard[at] for at in chosen[self.has_hard[chosen]]]
            texts = self.encoder.forward(*pad([*(self.positives[at] for at in chosen), *hard], 0))
        numbers = self.documents[torch.from_numpy(chosen)]
        own = numbers[:, None] == numbers[None]  # passages of one document are no negatives for each other
        own.fill_diagonal_(False)
        scores = SCALE * anchors @ texts.T
        count = len(chosen)
        inside = scores[:, :count].masked_fill(own, -1e4)
        # A hard negative was found for one query: for the others of the batch it may be right, and it is not asked.
        owner = torch.from_numpy(np.flatnonzero(self.has_hard[chosen]))
        beside = scores[:, count:].masked_fill(owner[None] != torch.arange(count)[:, None], -1e4)
        target = torch.arange(count)
        return (cross_entropy(torch.cat([inside, beside], 1), target) + cross_entropy(inside.T, target)) / 2


def _rate(encoder: Encoder, base: Path, pairs: Sequence[Pair], bf16: bool, seed: int) -> float:
    """Return pairs per second of real training steps. It spoils the encoder's weights."""
    loss_of = _StepLoss(encoder, base, pairs, bf16, seed)
    groups = encoder_groups(encoder, PEAK)
    rate = steps_per_s(groups, lambda step: loss_of(step % loss_of.per_epoch), warm=WARM_STEPS, timed=TIMED_STEPS)
    return rate * BATCH


PLAN = Stage(name="train.embed.plan", version=VERSION, run=plan_embed)
TRAIN = Stage(name="train.embed", version=VERSION, run=train_embed)
