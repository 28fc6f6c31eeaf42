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
from tokenworks.line.train._classify_full import Asked, Loop, Outcome, measure_steps, train_full
from tokenworks.line.train._encoder_out import write_classifier
from tokenworks.line.train._encoder_torch import Encoder, embed_rows, has_bf16, load_encoder, prepare
from tokenworks.line.train._head import Choice, choose, fit_head
from tokenworks.line.train._labelled import Labelled, read_labelled
from tokenworks.line.train._tokens import MAX_TOKENS, tokenize
from tokenworks.line.train._unlabelled import Guessed, guesses, key_of, read_unlabelled, spread, try_guesses

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "3"
BATCH = 32
FULL_ROWS = 1000  # fewer: measured on 5 rows a class, fine-tuning lost 2 points to the head
FULL_ROWS_PER_CLASS = 10
GUESS_STEPS = 300  # fewer: measured with 209 over labels and guesses, a point was lost to the head it began with
PASSES_ROWS = 50_000  # rows seen in all, within 3 to 12 passes: 10,000 rows are seen 5 times
LEAST_PASSES = 1.5  # over labelled rows and guesses together: the guesses are fewer where more do not fit
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
    unlabelled: int  # requests whose guessed classes are learned by all layers
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
    asked = tokenize(base, _unlabelled(inputs, data, bench))
    plan = _plan(params, data, rows, asked, embed_rate, train_rate, bf16, encoder)
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
    asked, guessed = _asked(inputs, data, base, plan, bench), None
    if asked is not None:
        guessed = try_guesses(frozen, targets, weights, asked.frozen, len(data.classes), choice, params.seed)
        asked = asked if guessed.helps else None
    outcome: Outcome | None = None
    if plan.method == "full":
        some = _some(asked, plan.unlabelled)
        most = math.ceil(_useful_passes(len(rows)) * math.ceil(len(rows) / BATCH))
        loop = Loop(
            steps=plan.steps if some else min(plan.steps, most), batch=plan.batch, bf16=plan.bf16, seed=params.seed,
            strength=choice.strength, noise=choice.noise, temperature=choice.temperature,
        )  # fmt: skip
        outcome = train_full(encoder, rows, targets, frozen, loop, bench, weights=weights, asked=some)
    keeps_full = outcome is not None and not (params.method == "auto" and outcome.head_is_better)
    tensors: Mapping[str, Tensor] | None = None
    if outcome is not None and keeps_full:
        tensors, head = encoder.folder_weights(), outcome.head
    else:
        head = _head(frozen, targets, weights, len(data.classes), choice, asked, guessed)
    folder = bench.scratch / "model"
    write_classifier(folder, base, params.base, data.classes, len(rows), weights=tensors, head=head)
    log = _log(plan, data, rows, choice, outcome, "full" if keeps_full else "head")
    log |= {"noise": _noise(frozen, targets, data, None if keeps_full else head, choice), "unlabelled": guessed}
    return {"model": bench.artifacts.put_folder(folder), "log": bench.artifacts.put_bytes(msgspec.json.encode(log))}


def _head(
    frozen: Tensor,
    targets: Tensor,
    weights: Tensor,
    classes: int,
    choice: Choice,
    asked: Asked | None,
    guessed: Guessed | None,
) -> tuple[Tensor, Tensor]:
    """Return the calibrated head, taught by its own guesses at `asked` too where that helped."""
    about = frozen, targets, classes, choice.strength
    head, temperature = fit_head(*about, noise=choice.noise, weights=weights), choice.temperature
    if asked is not None and guessed is not None:
        extra = guesses(asked.frozen, head, temperature)
        head, temperature = fit_head(*about, noise=choice.noise, weights=weights, extra=extra), guessed.temperature
    return head[0] / temperature, head[1] / temperature


def _unlabelled(inputs: Mapping[str, str], data: Labelled, bench: Bench) -> list[str]:
    """Return the requests without a label; none where they are too few to matter."""
    if not inputs.get("unlabelled"):
        return []
    with bench.artifacts.open(inputs["unlabelled"]) as lines:
        texts = read_unlabelled(lines, {key_of(text) for text in data.texts})
    return texts if len(texts) >= MIN_UNLABELLED * len(data.texts) else []


def _asked(inputs: Mapping[str, str], data: Labelled, base: Path, plan: Plan, bench: Bench) -> Asked | None:
    """Return the requests without a label and their embeddings, None where there are none to learn from."""
    texts = _unlabelled(inputs, data, bench)
    if not texts:
        return None
    rows = tokenize(base, texts)
    return Asked(rows=rows, frozen=embed_rows(load_encoder(base), rows, bf16=plan.bf16, progress=bench.progress))


def _some(asked: Asked | None, most: int) -> Asked | None:
    """Return as many requests as all layers are to learn from."""
    if asked is None or not most:
        return None
    picks = spread(range(len(asked.rows)), most)
    return Asked(rows=[asked.rows[at] for at in picks], frozen=asked.frozen[picks])


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
    return measure_steps(encoder, rows, data.targets, len(data.classes), bf16=bf16, batch=BATCH, seed=seed)


def _plan(
    params: Params,
    data: Labelled,
    rows: list[NDArray[np.int64]],
    asked: list[NDArray[np.int64]],
    embed_rate: float,
    train_rate: float,
    bf16: bool,
    encoder: Encoder,
) -> Plan:
    """Return the plan that the measured rates, the data and the wish add up to."""
    classes = len(data.classes)
    before_s = (len(rows) + len(asked)) / embed_rate + HEAD_S * (2 if asked else 1)
    seen = max(0.0, params.budget_s * RESERVE - before_s) * train_rate  # rows in all
    room = int(seen / LEAST_PASSES) - len(rows) if seen >= GUESS_STEPS * BATCH else 0
    asked = spread(asked, max(0, room))
    count = len(rows) + len(asked)
    wanted, affordable = _useful_passes(count), seen / count
    method, why = _method(params, len(rows), classes, wanted, affordable)
    epochs = min(wanted, max(affordable, 1.0)) if method == "full" else 0.0
    steps = math.ceil(epochs * math.ceil(count / BATCH))
    trained = sum(tensor.numel() for tensor in encoder.weights.values()) if method == "full" else 0
    return Plan(
        method=method,
        steps=steps,
        epochs=round(epochs, 2),
        batch=BATCH,
        rows=len(rows),
        unlabelled=len(asked),
        classes=classes,
        tokens=round(sum(map(len, [*rows, *asked])) * max(1.0, epochs)),
        parameters=trained + classes * (encoder.config.hidden_size + 1),
        bf16=bf16,
        rows_per_s=round(train_rate if method == "full" else embed_rate, 1),
        expected_s=round(before_s + epochs * count / train_rate, 1),
        why=why,
    )


def _useful_passes(rows: int) -> float:
    return min(12.0, max(3.0, PASSES_ROWS / rows))


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
