"""Scaling laws as pure formulas: what loss a model of N parameters reaches on D tokens, and how to split a budget.

Losses are nats per token of the fits' own data and tokenizers: use them to rank plans, not to promise a figure.
"""

from __future__ import annotations

import math

import msgspec

R_TOKENS = 15.387756  # Muennighoff 2023 (arXiv 2305.16264), table of fits: decay of repeated data
R_PARAMETERS = 5.309743  # the same, of parameters beyond what the unique data can use
FLOPS_PER_WEIGHT = 6  # a token costs 2 forward and 4 backward for each weight: Kaplan 2020 (arXiv 2001.08361), 2.1


class Law(msgspec.Struct, frozen=True, kw_only=True):
    """L(N, D) = floor + a / N^alpha + b / D^beta."""

    floor: float
    a: float
    b: float
    alpha: float
    beta: float


class Optimum(msgspec.Struct, frozen=True, kw_only=True):
    """The best split of a compute budget."""

    parameters: float
    tokens: float


# Besiroglu 2024 (arXiv 2404.10102): the refit of Chinchilla's data. The law to use.
BESIROGLU = Law(floor=1.8172, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658)
# Hoffmann 2022 (arXiv 2203.15556), as printed. Kept as a warning: its rounded exponents ask for 92.6 tokens per
# parameter at Chinchilla's own budget, where Chinchilla used 20.
HOFFMANN_ROUNDED = Law(floor=1.69, a=406.4, b=410.7, alpha=0.34, beta=0.28)
# The same with the exponents of the paper's TeX source.
HOFFMANN_TEX = Law(floor=1.69, a=406.4, b=410.7, alpha=0.3392, beta=0.2849)
# Muennighoff 2023 (arXiv 2305.16264), fitted on runs that repeat their data.
MUENNIGHOFF = Law(
    floor=math.exp(0.6254804), a=math.exp(6.255414), b=math.exp(7.3049974), alpha=0.3526596, beta=0.3526596
)


def loss(law: Law, parameters: float, tokens: float) -> float:
    """Return the loss in nats per token of one pass over fresh `tokens` (Hoffmann 2022, eq. 2)."""
    return float(law.floor + law.a / parameters**law.alpha + law.b / tokens**law.beta)


def compute_optimal(law: Law, flops: float) -> Optimum:
    """Return the parameters and tokens of the lowest loss for `flops` = 6 N D (Hoffmann 2022, eq. 4)."""
    share = law.alpha + law.beta
    weight = (law.alpha * law.a / (law.beta * law.b)) ** (1 / share)
    parameters = weight * (flops / FLOPS_PER_WEIGHT) ** (law.beta / share)
    return Optimum(parameters=parameters, tokens=flops / FLOPS_PER_WEIGHT / parameters)


def effective_tokens(tokens: float, unique: float) -> float:
    """Return how much fresh data `tokens` drawn from `unique` ones are worth (Muennighoff 2023, eq. 5)."""
    if tokens <= unique:
        return tokens
    repeats = tokens / unique - 1
    return unique + unique * R_TOKENS * (1 - math.exp(-repeats / R_TOKENS))


def effective_parameters(law: Law, parameters: float, unique: float) -> float:
    """Return how many of `parameters` the `unique` tokens can use (Muennighoff 2023, eq. 6)."""
    usable = parameters_for(law, unique)
    if parameters <= usable:
        return parameters
    excess = parameters / usable - 1
    return usable + usable * R_PARAMETERS * (1 - math.exp(-excess / R_PARAMETERS))


def parameters_for(law: Law, tokens: float) -> float:
    """Return the model size for which `tokens` are compute-optimal: alpha a / N^alpha = beta b / D^beta."""
    return float((law.alpha * law.a / (law.beta * law.b) * tokens**law.beta) ** (1 / law.alpha))


def repeat_value(epochs: float) -> float:
    """Return what a token is worth on average over `epochs` passes, next to a fresh one."""
    return effective_tokens(epochs, 1.0) / epochs


def data_constrained_loss(law: Law, parameters: float, tokens: float, unique: float) -> float:
    """Return the loss when `tokens` are drawn from `unique` ones, repeated as needed (Muennighoff 2023, eq. 4)."""
    return loss(law, effective_parameters(law, parameters, unique), effective_tokens(tokens, unique))
