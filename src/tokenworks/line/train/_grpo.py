"""The objective of group relative policy optimisation: answers better than their group's mean become more likely."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tokenworks.line.grading import Reward
from tokenworks.line.train._fit import Objective
from tokenworks.line.train._sampling import Given, Sampling, answers_to
from tokenworks.line.train._sft import Recipe, Trainee, token_logps

if TYPE_CHECKING:
    from torch import Tensor

Rewards = npt.NDArray[np.float64]
FIGURES = ("reward", "spread", "kl", "ended", "tokens")  # what a step tells beside its loss


@dataclass(frozen=True)
class Question:
    """A prompt as tokens, and its right answer."""

    ids: list[int]
    answer: str


@dataclass(frozen=True)
class Terms:
    """What is rewarded, and how strongly."""

    reward: Reward
    sampling: Sampling
    prompts: int  # of a step
    group: int  # answers to each prompt
    kl: float
    normalise: Literal["none", "std"]


def objectives(
    learner: Trainee, questions: Sequence[Question], recipe: Recipe, terms: Terms, tokenizer: Any
) -> Iterator[Objective]:
    """Return what each step makes smaller. Answers are sampled when it is called: from the weights of that step."""
    base = base_logps(learner) if terms.kl else None  # now: the first step may come after a checkpoint was taken up
    return (
        partial(_step, learner, [questions[number] for number in numbers], terms, tokenizer, base)
        for numbers in order(len(questions), terms.prompts, seed=recipe.seed)
    )


def order(count: int, size: int, *, seed: int) -> Iterator[list[int]]:
    """Yield `size` question numbers at a time, epoch after epoch without end, in an order that only `seed` decides."""
    epoch, waiting = 0, list[int]()
    while True:
        while len(waiting) < size:
            waiting += [int(number) for number in np.random.default_rng((seed, epoch)).permutation(count)]
            epoch += 1
        yield waiting[:size]
        waiting = waiting[size:]


def advantages(rewards: Rewards, *, normalise: Literal["none", "std"]) -> Rewards:
    """Return how much better each answer was than its group's mean [groups, answers].

    "std" divides by the group's deviation (Shao 2024, 4.1.2), which favours questions that are nearly always right or
    wrong; "none" does not (Liu 2025, Dr. GRPO).
    """
    above: Rewards = rewards - rewards.mean(axis=1, keepdims=True)
    if normalise == "std":
        above /= rewards.std(axis=1, keepdims=True) + 1e-4
    return above


def base_logps(learner: Trainee) -> Callable[[Sequence[Any]], Tensor]:
    """Return what gives the base's log-probabilities of answers: adapters switched off, or a copy of the weights.

    Called before the first step, and before a checkpoint is taken up.
    """
    import torch

    frozen = learner if hasattr(learner.wrapped, "disable_adapter") else copy.deepcopy(learner)

    def logps(samples: Sequence[Any]) -> Tensor:
        with torch.no_grad():
            if frozen is not learner:
                return token_logps(frozen, samples)[0]
            with learner.wrapped.disable_adapter():
                return token_logps(learner, samples)[0]

    return logps


def _step(
    learner: Trainee,
    questions: Sequence[Question],
    terms: Terms,
    tokenizer: Any,
    base: Callable[[Sequence[Any]], Tensor] | None,
) -> tuple[Tensor, tuple[float, ...]]:
    import torch

    groups = answers_to(learner, [question.ids for question in questions], terms.group, terms.sampling, tokenizer)
    rewards = rewarded(questions, groups, terms.reward)
    better = advantages(rewards, normalise=terms.normalise)
    given = [answer for group in groups for answer in group]
    samples = [answer.sample for answer in given]
    tokens = [int(sample.trained.sum()) for sample in samples]
    logps, _ = token_logps(learner, samples)
    weight = torch.from_numpy(np.repeat(better.reshape(-1), tokens)).float()
    # One step for each draw: the ratio to the policy that drew is 1, and its gradient is that of the log-probability.
    ratio = torch.exp(logps - logps.detach())
    loss = -(ratio * weight).sum()
    kl = torch.zeros(())
    if base is not None:
        apart = base(samples) - logps
        kl = (torch.exp(apart) - apart - 1).sum()  # never below zero, no bias (Schulman 2020; Shao 2024, eq. 4)
        loss = loss + terms.kl * kl
    # A constant, not the length of the answer: dividing by that would make long wrong answers cheap (Liu 2025).
    loss = loss / (len(samples) * terms.sampling.max_tokens)
    told = (
        float(rewards.mean()), float((rewards.std(axis=1) > 0).mean()), float(kl.detach()) / sum(tokens),
        float(np.mean([answer.ended for answer in given])), float(np.mean(tokens)),
    )  # fmt: skip
    return loss, told


def rewarded(questions: Sequence[Question], groups: Sequence[Sequence[Given]], reward: Reward) -> Rewards:
    """Return the reward of each answer [questions, answers]. One that was cut off earns nothing."""
    return np.array(
        [
            [reward(question.answer, answer.text) if answer.ended else 0.0 for answer in group]
            for question, group in zip(questions, groups, strict=True)
        ]
    )
