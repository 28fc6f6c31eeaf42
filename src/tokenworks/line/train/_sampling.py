"""Answers that a model in training gives to a prompt, sampled from its whole distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tokenworks.core.errors import DataError
from tokenworks.line.train._chat_tokens import Sample
from tokenworks.line.train._sft import Trainee


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn."""

    max_tokens: int
    temperature: float
    stops: tuple[int, ...]  # tokens that end an answer


@dataclass(frozen=True)
class Given:
    """One answer: the conversation as tokens with the answer marked, its text, and whether it came to its end."""

    sample: Sample
    text: str
    ended: bool


def stop_tokens(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens that end an answer of the model in `folder`, as its engine will see them."""
    stated: Any = None
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if stated is None and path.is_file():
            stated = msgspec.json.decode(path.read_bytes(), type=dict[str, Any]).get("eos_token_id")
    if stated is None:
        stated = tokenizer.eos_token_id
    if stated is None:
        raise DataError(f"{folder} names no eos_token_id, so no answer could end: add it to config.json")
    return tuple(stated) if isinstance(stated, list) else (int(stated),)


def answers_to(
    learner: Trainee, prompts: Sequence[Sequence[int]], count: int, how: Sampling, tokenizer: Any
) -> list[list[Given]]:
    """Return `count` answers to each of `prompts`, drawn with torch's generator as it stands."""
    import torch  # heavy: only training pays for it

    longest = max(len(prompt) for prompt in prompts)
    ids = torch.zeros((len(prompts) * count, longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, prompt in enumerate(prompts):
        rows = slice(place * count, (place + 1) * count)
        ids[rows, longest - len(prompt) :] = torch.tensor(prompt)  # answers begin where prompts end: padded on the left
        mask[rows, longest - len(prompt) :] = 1
    learner.model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=learner.precision == "bf16"):
        # Everything said here, so that nothing of the folder's generation_config bends the distribution.
        whole = learner.model.generate(
            ids, attention_mask=mask, max_new_tokens=how.max_tokens, do_sample=True, temperature=how.temperature,
            top_k=0, top_p=1.0, min_p=None, typical_p=1.0, repetition_penalty=1.0, num_beams=1, use_cache=True,
            eos_token_id=list(how.stops), pad_token_id=how.stops[0],
        )  # fmt: skip
    learner.model.train()
    said = whole[:, longest:].numpy()
    given = [_given(prompts[row // count], said[row], how, tokenizer) for row in range(len(said))]
    return [given[place * count : (place + 1) * count] for place in range(len(prompts))]


def _given(prompt: Sequence[int], said: npt.NDArray[np.int64], how: Sampling, tokenizer: Any) -> Given:
    ends = np.flatnonzero(np.isin(said, how.stops))
    kept = said[: ends[0] + 1] if len(ends) else said
    text = str(tokenizer.decode(kept, skip_special_tokens=True))
    ids = np.concatenate([np.asarray(prompt, np.int64), kept])
    trained = np.arange(len(ids)) >= len(prompt)
    return Given(Sample(ids, trained), text, bool(len(ends)))
