"""Choose the next token from logits, in numpy: the reference for what each sampling parameter means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tokenworks.serving.engine import Sampling

Floats = NDArray[np.float64]


def penalised(logits: Floats, sampling: Sampling, prompt: Sequence[int], made: Mapping[int, int]) -> Floats:
    """Return the logits after the penalties; `made` counts the answer's tokens so far.

    Repetition (Keskar 2019) looks at prompt and answer, presence and frequency (OpenAI API) at the answer alone.
    """
    logits = logits.copy()
    if sampling.repetition_penalty != 1.0:
        seen = np.array(sorted({*prompt, *made}), dtype=np.int64)
        values = logits[seen]
        logits[seen] = np.where(values > 0, values / sampling.repetition_penalty, values * sampling.repetition_penalty)
    for token, count in made.items():
        logits[token] -= sampling.presence_penalty + sampling.frequency_penalty * count
    return logits


def probabilities(logits: Floats, sampling: Sampling) -> Floats:
    """Return what is sampled from: temperature, `top_k`, then the nucleus `top_p` (Holtzman 2019)."""
    scaled = softmax(logits / sampling.temperature)
    order = np.argsort(-scaled, kind="stable")
    if sampling.top_k:
        scaled[order[sampling.top_k :]] = 0.0
        scaled /= scaled.sum()
    if sampling.top_p < 1.0:
        before = np.cumsum(scaled[order]) - scaled[order]  # the first token always stays
        scaled[order[before >= sampling.top_p]] = 0.0
        scaled /= scaled.sum()
    return scaled


def position_rng(seed: int, choice: int, position: int) -> np.random.Generator:
    """Return the generator for one token: Philox (Salmon 2011), keyed by seed and choice, counted by position.

    Token `i` depends on no draw before it, so an answer can be taken up anywhere.
    """
    key = np.array([seed % (1 << 64), choice], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, position, 0, 0], np.uint64)))


def choose(logits: Floats, sampling: Sampling, rng: np.random.Generator) -> int:
    """Return the next token: the likeliest at temperature 0, else one drawn with `rng`."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    return int(rng.choice(len(logits), p=probabilities(logits, sampling)))


def softmax(logits: Floats) -> Floats:
    """Return probabilities that sum to 1."""
    shifted = np.exp(logits - logits.max())
    return np.asarray(shifted / shifted.sum(), np.float64)


def log_softmax(logits: Floats) -> Floats:
    """Return natural-log probabilities."""
    shifted = logits - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()), np.float64)
