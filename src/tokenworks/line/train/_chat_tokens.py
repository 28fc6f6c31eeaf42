"""Conversations as token ids, with a mark on the tokens that the model shall learn to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tokenworks.core.errors import DataError
from tokenworks.line.train._conversations import Conversation, as_dicts

if TYPE_CHECKING:
    from collections.abc import Callable

# Plain words and line breaks only: any tokenizer can spell them, and every engine's template parser can read it.
PLAIN_TEMPLATE = (
    "{BOS}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'Assistant:\\n' + message['content'] + eos_token + '\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User:\\n' + message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'tool' %}{{ 'Tool:\\n' + message['content'] + '\\n\\n' }}"
    "{% else %}{{ 'System:\\n' + message['content'] + '\\n\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Sample:
    """One conversation: token ids [n] and, for each, whether it is trained [n]."""

    ids: npt.NDArray[np.int64]
    trained: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Samples:
    """All conversations that fit, and how many did not."""

    samples: list[Sample]
    truncated: int
    skipped: int

    @property
    def tokens(self) -> int:
        """Tokens of one pass over all samples."""
        return sum(len(sample.ids) for sample in self.samples)


def plain_template(tokenizer: Any) -> str:
    """Return the template for a folder that has none; raise `DataError` where answers could not end."""
    if not tokenizer.eos_token:
        raise DataError(
            "the base's tokenizer has no end-of-sequence token, so no answer could end: add eos_token to it"
        )
    probe = tokenizer("a")["input_ids"]
    starts = tokenizer.bos_token_id is not None and probe[:1] == [tokenizer.bos_token_id]
    return PLAIN_TEMPLATE.replace("{BOS}", "{{ bos_token }}" if starts else "")


def tokenize(
    conversations: Sequence[Conversation], tokenizer: Any, *, max_length: int, too_long: str = "truncate"
) -> Samples:
    """Return samples of at most `max_length` tokens; longer ones are cut at the end or skipped, and counted.

    A conversation that has no trained token left after the cut is skipped.
    """
    samples, truncated, skipped = list[Sample](), 0, 0
    for conversation in conversations:
        found = sample(conversation, tokenizer)
        if len(found.ids) > max_length:
            cut = Sample(found.ids[:max_length], found.trained[:max_length])
            if too_long == "skip" or not cut.trained[1:].any():
                skipped += 1
                continue
            found, truncated = cut, truncated + 1
        samples.append(found)
    if not samples:
        raise DataError(
            f"none of {len(conversations)} conversations fits into {max_length} tokens: shorten them, "
            "or take a base with a longer context"
        )
    return Samples(samples, truncated, skipped)


def sample(conversation: Conversation, tokenizer: Any) -> Sample:
    """Return a conversation as tokens, marked where they begin inside a trained turn: rendered and tokenized once."""
    turns = as_dicts(conversation)
    text = _render(tokenizer, turns)
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    starts = np.array([start for start, _ in found["offset_mapping"]], np.int64)
    trained = np.zeros(len(starts), np.bool_)
    for begin, end in _spans(conversation, turns, text, lambda part, asks: _render(tokenizer, part, asks=asks)):
        trained |= (starts >= begin) & (starts < end)
    return Sample(np.array(found["input_ids"], np.int64), trained)


def prompt_ids(prompt: Conversation, tokenizer: Any) -> list[int]:
    """Return the tokens of `prompt` up to where the assistant answers."""
    text = _render(tokenizer, as_dicts(prompt), asks=True)
    return [int(number) for number in tokenizer(text, add_special_tokens=False)["input_ids"]]


def _spans(
    conversation: Conversation,
    turns: list[dict[str, str]],
    text: str,
    render: Callable[[list[dict[str, str]], bool], str],
) -> list[tuple[int, int]]:
    """Return where in `text` the trained turns stand, their end marks included.

    Found by rendering the conversation up to each turn, since few templates mark what the assistant says.
    """
    spans = []
    for place, message in enumerate(conversation):
        if not message.trained:
            continue
        before = render(turns[:place], True)
        after = render(turns[: place + 1], False)
        if not (text.startswith(before) and text.startswith(after)):
            if place + 1 < len(turns):  # templates may drop the thinking of earlier turns: those are not learnt
                continue
            raise DataError(
                "the base's chat template renders an answer differently once it is given: it cannot be used"
            )
        spans.append((len(before), len(after)))
    return spans


def _render(tokenizer: Any, turns: list[dict[str, str]], *, asks: bool = False) -> str:
    from jinja2 import TemplateError  # comes with transformers

    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asks))
    except (TemplateError, TypeError, ValueError, KeyError) as error:  # templates are programs of strangers
        raise DataError(
            f"the base's chat template refuses a conversation: {error}; change the roles or the template"
        ) from None
