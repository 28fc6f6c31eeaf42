"""Bits per byte of held-out documents under a causal model: what its folder gives, by the reference library.

Every token counts, conditioned on what stands before it in the same document and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tokenworks.core.corpus import read_parts
from tokenworks.core.errors import DataError, MissingExtraError
from tokenworks.core.stage import Progress, silent
from tokenworks.line.evaluate.intervals import weighted_mean
from tokenworks.line.evaluate.paired import Paired, paired_losses
from tokenworks.line.evaluate.report import Figure, Item

if TYPE_CHECKING:
    from torch import Tensor

BETTER = "lower"
DocumentBits = tuple[str, float, int]  # (document path, bits, bytes)
BATCH_TOKENS = 4096
LOGITS = 1 << 24  # of float32 at once


def figure(items: Sequence[Item]) -> Figure:
    """Return bits over bytes of all documents together."""
    return weighted_mean("bits_per_byte", [item.score for item in items], [item.weight for item in items])


def compare(candidate: Sequence[Item], other: Sequence[Item], *, alpha: float) -> Paired:
    """Compare two models on the same documents."""
    return paired_losses(candidate, other, alpha=alpha)


def bits_per_byte(
    model_folder: Path,
    documents_folder: Path,
    *,
    max_bytes: int = 1 << 21,
    threads: int = 2,
    progress: Progress = silent,
) -> list[DocumentBits]:
    """Return (path, bits, bytes) of each document, in order, under the Hugging Face causal model in `model_folder`.

    A document longer than the model's context goes through in windows that overlap by a quarter: each token is
    predicted once, from at least a quarter of a context (or from the beginning), in float32. The document begins after
    the model's own begin- or end-of-text token. `max_bytes` picks the same documents as the baselines do. Raises
    `DataError` for a folder without model, tokenizer or start token.
    """
    torch = _torch()
    torch.set_num_threads(max(1, threads))
    scorer = _Scorer(model_folder)
    found: list[DocumentBits] = []
    total = 0
    for path, text, size in _documents(documents_folder, max_bytes):
        found.append((path, scorer.bits(text), size))
        total += size
        progress(total, None, unit="bytes", note="bits per byte")
    return found


model_bits = bits_per_byte


class _Window(NamedTuple):
    begin: int  # of its first input in [start token, *document]
    end: int
    scored: int  # first predicted position that counts, relative to begin


class _Scorer:
    """A loaded model and its tokenizer."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer
        from transformers import AutoModelForCausalLM  # heavy: only where a model is judged

        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise DataError(f"{folder}: no {name}; a completion model is a complete Hugging Face folder")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.encode_special_tokens = True  # text that looks like a special token is still text
        torch = _torch()
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=torch.float32, use_safetensors=True, local_files_only=True
        ).eval()
        config = self._model.config
        start = config.bos_token_id if config.bos_token_id is not None else config.eos_token_id
        if start is None:
            raise DataError(f"{folder}/config.json: neither bos_token_id nor eos_token_id; a document has no beginning")
        self._start: int = start if isinstance(start, int) else start[0]
        self._context = int(config.max_position_embeddings)
        self._rows = max(1, min(BATCH_TOKENS // self._context, LOGITS // (self._context * config.vocab_size)))

    def bits(self, text: str) -> float:
        """Return -log2 P(text)."""
        torch = _torch()
        ids = [self._start, *self._tokenizer.encode(text, add_special_tokens=False).ids]
        windows = _windows(len(ids), self._context)
        nats = 0.0
        with torch.no_grad():
            for number in range(0, len(windows), self._rows):
                nats += self._nats(ids, windows[number : number + self._rows])
        return nats / math.log(2)

    def _nats(self, ids: Sequence[int], windows: Sequence[_Window]) -> float:
        torch = _torch()
        length = max(window.end - window.begin for window in windows) - 1
        inputs = torch.zeros(len(windows), length, dtype=torch.long)
        wanted = torch.full((len(windows), length), -1)
        for row, (begin, end, scored) in enumerate(windows):
            inputs[row, : end - begin - 1] = torch.tensor(ids[begin : end - 1])
            wanted[row, scored : end - begin - 1] = torch.tensor(ids[begin + 1 + scored : end])
        logits: Tensor = self._model(input_ids=inputs, use_cache=False).logits
        return float(
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-1, reduction="sum")
        )


def _windows(count: int, context: int) -> list[_Window]:
    """Cover predictions 1..count-1 exactly once with windows of `context` inputs that overlap by a quarter."""
    windows: list[_Window] = []
    done = 0  # predictions so far
    while done < count - 1:
        begin = 0 if done == 0 else done - context // 4
        end = min(count, begin + context + 1)
        windows.append(_Window(begin, end, done - begin))
        done = end - 1
    return windows


def _documents(folder: Path, max_bytes: int) -> Iterator[tuple[str, str, int]]:
    """Yield path, text and UTF-8 bytes of whole documents until `max_bytes`; at least one."""
    given = 0
    for document in read_parts(folder):
        size = len(document.text.encode("utf-8", "surrogatepass"))
        if not size or (given and given + size > max_bytes):
            continue
        given += size
        yield document.path, document.text, size


def _torch() -> Any:
    try:
        import torch  # heavy: only where a model is judged
    except ImportError:
        raise MissingExtraError("bits per byte of a model", "train") from None
    return torch
