"""Make a classifier from labelled texts: a head over the frozen encoder, or all layers fine-tuned from that head.

The head alone takes seconds and wins where examples are few; fine-tuning is worth some points where they are many.
`auto` fine-tunes when the budget allows whole passes over enough examples, and keeps the head if it is better on rows
that neither has seen. Some labels may be wrong and many requests have none: how many is noise, and whether guesses at
the rest help, cross-validation says. The plan fixes steps, never seconds: TRAIN gives the same bytes however often it
is killed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.line.train._checkpoint import load_tensors, save_tensors
from tokenworks.line.train._classify_full import Loop, Outcome, train_full
from tokenworks.line.train._encoder_out import write_classifier
from tokenworks.line.train._encoder_torch import Encoder, embed_rows, has_bf16, load_encoder, prepare
from tokenworks.line.train._head import Choice, choose, fit_head
from tokenworks.line.train._labelled import Labelled, read_labelled
from tokenworks.line.train._tokens import MAX_TOKENS, tokenize
from tokenworks.line.train._unlabelled import Guessed, guesses, key_of, read_unlabelled, try_guesses

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "2"
BATCH = 32
FULL_ROWS = 1000  # fewer: measured on 5 rows a class, fine-tuning lost 2 points to the head
FULL_ROWS_PER_CLASS = 10
PASSES_ROWS = 50_000  # rows seen in all, within 3 to 12 passes: 10,000 rows are seen 5 times
MIN_UNLABELLED = 0.5  # requests a labelled row: fewer change nothing that could be measured
DOUBTED = 20  # labels named in the log for a person to look at
HEAD_S = 10.0  # what cross-validating the head takes at most
RESERVE = 0.85  # of the budget: the rest is for loading, writing and a machine in a bad mood


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of the classifier."""

    method: Literal["auto", "head", "full"] = "auto"
    budget_s: float = 180.0  # aimed at by the plan on this machine
    base: str = "minilm"  # what the input `base` is called, for the model's card
    seed: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What TRAIN will do, to the step."""

    method: str  # head | full
    steps: int
    epochs: float
    batch: int
    rows: int
    classes: int
    tokens: int  # read in training, without padding
    parameters: int  # that training changes
    bf16: bool
    rows_per_s: float  # measured: trained rows (full), embedded rows (head)
    expected_s: float
    why: str


def plan_classify(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    """Measure this machine on the task's own rows and fix method and steps."""
    prepare(bench.threads)
    data = _read(inputs, bench)
    base = bench.artifacts.folder(inputs["base"])
    rows = tokenize(base, data.texts)
    encoder = load_encoder(base)
    bf16 = has_bf16()
    embed_rate = _embed_rate(encoder, rows, bf16)
    train_rate = embed_rate if params.method == "head" else _train_rate(encoder, rows, data, bf16, params.seed)
    plan = _plan(params, data, rows, embed_rate, train_rate, bf16, encoder)
    return {"plan": bench.artifacts.put_bytes(msgspec.json.encode(plan))}


def train_classify(inputs: Mapping[str, str], params: Params, bench: Bench) -> Outputs:
    """Train as planned; return the model folder and the log."""
    prepare(bench.threads)
    import torch  # after `prepare`

    plan = msgspec.json.decode(bench.artifacts.get_bytes(inputs["plan"]), type=Plan)
    data = _read(inputs, bench)
    base = bench.artifacts.folder(inputs["base"])
    rows = tokenize(base, data.texts)
    encoder = load_encoder(base)
    targets = torch.tensor(data.targets)
    frozen = _frozen(encoder, rows, plan, bench)
    weights = torch.tensor(data.weights)
    choice = choose(frozen, targets, len(data.classes), params.seed, weights=weights)
    outcome: Outcome | None = None
    if plan.method == "full":
        loop = Loop(
            steps=plan.steps, batch=plan.batch, bf16=plan.bf16, seed=params.seed, strength=choice.strength,
            noise=choice.noise,
        )  # fmt: skip
        outcome = train_full(encoder, rows, targets, frozen, loop, bench, weights=weights)
    keeps_full = outcome is not None and not (params.method == "auto" and outcome.head_is_better)
    guessed: Guessed | None = None
    tensors: Mapping[str, Tensor] | None = None
    if outcome is not None and keeps_full:
        tensors, head = encoder.folder_weights(), outcome.head
    else:
        asked = _asked(inputs, data, base, plan, bench)
        head, guessed = _head(frozen, targets, weights, asked, len(data.classes), choice, params.seed)
    folder = bench.scratch / "model"
    write_classifier(folder, base, params.base, data.classes, len(rows), weights=tensors, head=head)
    log = _log(plan, data, rows, choice, outcome, "full" if keeps_full else "head")
    log |= {"noise": _noise(frozen, targets, data, None if keeps_full else head, choice), "unlabelled": guessed}
    return {"model": bench.artifacts.put_folder(folder), "log": bench.artifacts.put_bytes(msgspec.json.encode(log))}


def _head(
    frozen: Tensor, targets: Tensor, weights: Tensor, asked: Tensor | None, classes: int, choice: Choice, seed: int
) -> tuple[tuple[Tensor, Tensor], Guessed | None]:
    """Return the calibrated head, and what guesses at the requests without a label did for it."""
    about = frozen, targets, classes, choice.strength
    head, temperature = fit_head(*about, noise=choice.noise, weights=weights), choice.temperature
    guessed = None if asked is None else try_guesses(frozen, targets, weights, asked, classes, choice, seed)
    if asked is not None and guessed is not None and guessed.helps:
        extra = guesses(asked, head, temperature)
        head, temperature = fit_head(*about, noise=choice.noise, weights=weights, extra=extra), guessed.temperature
    return (head[0] / temperature, head[1] / temperature), guessed


def _asked(inputs: Mapping[str, str], data: Labelled, base: Path, plan: Plan, bench: Bench) -> Tensor | None:
    """Return the embeddings of the requests without a label; None where there are none, or too few to matter."""
    if not inputs.get("unlabelled"):
        return None
    with bench.artifacts.open(inputs["unlabelled"]) as lines:
        texts = read_unlabelled(lines, {key_of(text) for text in data.texts})
    if len(texts) < MIN_UNLABELLED * len(data.texts):
        return None
    return embed_rows(load_encoder(base), tokenize(base, texts), bf16=plan.bf16, progress=bench.progress)


def _noise(
    frozen: Tensor, targets: Tensor, data: Labelled, head: tuple[Tensor, Tensor] | None, choice: Choice
) -> dict[str, Any]:
    """Say how noisy the labels seem, and which ones a head over the base finds least likely."""
    if choice.noise == 0 or head is None:
        return {"rate": choice.noise, "doubted": []}
    own = (frozen @ head[0].T + head[1]).log_softmax(1)[range(len(targets)), targets]
    worst = [int(at) for at in own.argsort()[:DOUBTED]]
    doubted = [{"text": data.texts[at][:80], "label": data.classes[data.targets[at]]} for at in worst]
    return {"rate": choice.noise, "doubted": doubted}


def _read(inputs: Mapping[str, str], bench: Bench) -> Labelled:
    with bench.artifacts.open(inputs["train"]) as lines:
        return read_labelled(lines)


def _embed_rate(encoder: Encoder, rows: list[NDArray[np.int64]], bf16: bool) -> float:
    """Return embedded rows per second, over evenly picked rows after a first round for warming up."""
    some = rows[:: max(1, len(rows) // 128)][:128]
    embed_rows(encoder, some[:32], bf16=bf16)
    began = time.perf_counter()
    embed_rows(encoder, some, bf16=bf16)
    return len(some) / (time.perf_counter() - began)


def _train_rate(encoder: Encoder, rows: list[NDArray[np.int64]], data: Labelled, bf16: bool, seed: int) -> float:
    """Return fine-tuned rows per second over some real steps; the weights that they change are thrown away."""
    from tokenworks.line.train._classify_full import measure_steps

    return measure_steps(encoder, rows, data.targets, len(data.classes), bf16=bf16, batch=BATCH, seed=seed)


def _plan(
    params: Params,
    data: Labelled,
    rows: list[NDArray[np.int64]],
    embed_rate: float,
    train_rate: float,
    bf16: bool,
    encoder: Encoder,
) -> Plan:
    """Return the plan that the measured rates, the data and the wish add up to."""
    count, classes = len(rows), len(data.classes)
    wanted = min(12.0, max(3.0, PASSES_ROWS / count))
    before_s = count / embed_rate + HEAD_S
    affordable = max(0.0, params.budget_s * RESERVE - before_s) * train_rate / count
    method, why = _method(params, count, classes, wanted, affordable)
    epochs = min(wanted, max(affordable, 1.0)) if method == "full" else 0.0
    steps = math.ceil(epochs * math.ceil(count / BATCH))
    trained = sum(tensor.numel() for tensor in encoder.weights.values()) if method == "full" else 0
    return Plan(
        method=method,
        steps=steps,
        epochs=round(epochs, 2),
        batch=BATCH,
        rows=count,
        classes=classes,
        tokens=round(sum(map(len, rows)) * max(1.0, epochs)),
        parameters=trained + classes * (encoder.config.hidden_size + 1),
        bf16=bf16,
        rows_per_s=round(train_rate if method == "full" else embed_rate, 1),
        expected_s=round(before_s + epochs * count / train_rate, 1),
        why=why,
    )


def _method(params: Params, rows: int, classes: int, wanted: float, affordable: float) -> tuple[str, str]:
    if params.method != "auto":
        return params.method, f"method = {params.method!r} was asked for"
    if rows < FULL_ROWS or rows < FULL_ROWS_PER_CLASS * classes:
        return "head", f"{rows} rows for {classes} classes are too few for fine-tuning to win over a head"
    if affordable < 1:
        return "head", f"{params.budget_s:.0f} s allow {affordable:.2f} passes over {rows} rows; fine-tuning needs one"
    passes = f"{min(wanted, affordable):.1f} of {wanted:.1f} useful passes over {rows} rows fit"
    return "full", f"{passes} into {params.budget_s:.0f} s; the head is kept if it is better on held-out rows"


def _frozen(encoder: Encoder, rows: list[NDArray[np.int64]], plan: Plan, bench: Bench) -> Any:
    """Return the embeddings of the base, kept in scratch so that a killed run need not make them again."""
    path = bench.scratch / "frozen.tensors"
    kept = load_tensors(path)
    if kept is not None:
        return kept["embeddings"]
    embeddings = embed_rows(encoder, rows, bf16=plan.bf16, progress=bench.progress)
    save_tensors(path, {"embeddings": embeddings})
    return embeddings


def _log(
    plan: Plan,
    data: Labelled,
    rows: list[NDArray[np.int64]],
    choice: Choice,
    outcome: Outcome | None,
    method: str,
) -> dict[str, Any]:
    notes = [*data.notes]
    cut = sum(len(row) >= MAX_TOKENS for row in rows)
    if cut:
        notes.append(f"{cut} texts were cut after {MAX_TOKENS} tokens")
    if outcome is not None and method == "head":
        notes.append("the fine-tuned model was no better than the head on held-out rows; the head was kept")
    return {
        "method": method,
        "planned": plan.method,
        "rows": len(rows),
        "classes": len(data.classes),
        "cross_validated": choice,
        "held_out": None if outcome is None else outcome.held_out,
        "temperature": choice.temperature if outcome is None or method == "head" else outcome.temperature,
        "losses": [] if outcome is None else outcome.losses,
        "notes": notes,
    }


PLAN = Stage(name="train.classify.plan", version=VERSION, run=plan_classify)
TRAIN = Stage(name="train.classify", version=VERSION, run=train_classify)
