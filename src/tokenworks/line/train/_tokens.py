"""Texts to token ids with the folder's own tokenizer, without the padding and cutting that its file may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

MAX_TOKENS = 256  # as sentence-transformers cuts for MiniLM


def tokenize(folder: Path, texts: Sequence[str], *, max_tokens: int = MAX_TOKENS) -> list[NDArray[np.int64]]:
    """Return the ids of each text, special tokens included, cut after `max_tokens`."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return [np.array(encoding.ids, np.int64) for encoding in tokenizer.encode_batch(list(texts))]
