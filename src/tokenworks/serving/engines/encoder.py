"""The encoder engine: sentence embeddings and, where the folder has a head, classes. BERT family, torch-free.

Computes with OpenVINO where it is installed, else with numpy. A text to embed that is longer than the context is
refused, since half a document's vector would be silently wrong; a text to classify is read up to the context's end,
as the classifier was trained.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from tokenworks.core.encoder_folder import HEAD, WEIGHTS, BertConfig, check_folder, read_card
from tokenworks.core.errors import ConfigError, EngineError
from tokenworks.metering.attribution.account import Work
from tokenworks.serving.encoding.batching import Batcher, Floats, Forward, Ints
from tokenworks.serving.encoding.numpy_bert import NumpyBert
from tokenworks.serving.encoding.openvino_bert import OpenvinoBert
from tokenworks.serving.encoding.weights import read_bert, read_floats
from tokenworks.serving.engine import Options, ParameterError, Piece, Sampling, Text, Vectors

MAX_CONTEXT = 512
INLINE_CHARS = 8192  # longer input is tokenized in a thread, so that the event loop stays free
PRECISIONS = ("auto", "f32", "bf16")


class _Kind(msgspec.Struct):
    model_type: str = ""


def serves(folder: Path) -> bool:
    """Return whether `folder` holds an encoder that this engine runs; looks at file names and config.json alone."""
    config = folder / "config.json"
    if not (config.is_file() and (folder / WEIGHTS).is_file()):
        return False
    try:
        return msgspec.json.decode(config.read_bytes(), type=_Kind).model_type == "bert"
    except msgspec.DecodeError:
        return False


def load(folder: Path, options: Options) -> EncoderEngine:
    """Return the engine for `folder`; raise `DataError` or `EngineError` for one that cannot be served."""
    config = check_folder(folder)
    if options.precision not in PRECISIONS:
        raise ConfigError(f"precision {options.precision!r} is not offered for encoders; use {', '.join(PRECISIONS)}")
    forward = _forward(folder, config, options)
    return EncoderEngine(folder, config, forward, max_batch=options.max_batch)


def _forward(folder: Path, config: BertConfig, options: Options) -> Forward:
    weights = read_bert(folder, config)
    if importlib.util.find_spec("openvino") is None:
        if options.precision == "bf16":
            raise ConfigError("precision 'bf16' needs OpenVINO: pip install 'tokenworks[embed]', or use 'auto'")
        return NumpyBert(config, weights)
    return OpenvinoBert(config, weights, threads=options.threads, precision=options.precision)


class EncoderEngine:
    """A loaded encoder. Keeps the contract of `serving.engine.Engine`."""

    def __init__(self, folder: Path, config: BertConfig, forward: Forward, *, max_batch: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._context = min(MAX_CONTEXT, config.max_position_embeddings)
        self._head, self._classes = _head(folder, config)
        self._vocabulary = config.vocab_size
        self._batcher = Batcher(forward, max_batch=max_batch, pad_id=config.pad_token_id)

    @property
    def does(self) -> frozenset[str]:
        """Return 'embeddings', and 'classify' where the folder has a head."""
        return frozenset({"embeddings", "classify"} if self._head else {"embeddings"})

    @property
    def supports(self) -> frozenset[str]:
        """Return no optional features: nothing is sampled."""
        return frozenset()

    @property
    def context_length(self) -> int:
        """Return the most tokens of one text, the two special ones included."""
        return self._context

    @property
    def classes(self) -> list[str]:
        """Return the class names in the order of the probabilities."""
        return self._classes

    def chat_prompt(self, messages: Sequence[dict[str, Any]]) -> str:
        """Raise `EngineError`: an encoder has no chat template."""
        raise EngineError("this model is an encoder and cannot chat; use /v1/embeddings or /classify")

    def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` has, the two special ones included."""
        return len(self._tokenizer.encode(text).ids)

    async def generate(self, prompt: str, sampling: Sampling) -> AsyncIterator[Piece]:
        """Raise `EngineError`: an encoder writes nothing."""
        raise EngineError("this model is an encoder and cannot generate; use /v1/embeddings or /classify")
        yield Piece()

    async def embed(self, texts: Sequence[Text], *, work: Work | None = None) -> Vectors:
        """Return a unit vector for each text; raise `ParameterError` for one longer than the context."""
        rows = await self._rows(texts)
        for at, row in enumerate(rows):
            if len(row) > self._context:
                raise ParameterError(
                    "input",
                    f"input {at} has {len(row)} tokens, the context is {self._context}; split the text into passages",
                )
        vectors = await self._batcher.run(rows, work)
        for vector in vectors:
            _require_numbers(vector)
        return Vectors(values=[vector.tolist() for vector in vectors], tokens=[len(row) for row in rows])

    async def classify(self, texts: Sequence[str], *, work: Work | None = None) -> Vectors:
        """Return the class probabilities of each text, judged by its first `context_length` tokens."""
        if self._head is None:
            raise EngineError(f"this model has no {HEAD} and cannot classify; train a classify task first")
        rows = [_cut(row, self._context) for row in await self._tokenize(texts)]
        vectors = await self._batcher.run(rows, work)
        if not vectors:
            return Vectors(values=[], tokens=[])
        probabilities = softmax(np.stack(vectors) @ self._head[0].T + self._head[1])
        _require_numbers(probabilities)
        return Vectors(values=probabilities.tolist(), tokens=[len(row) for row in rows])

    async def close(self) -> None:
        """Stop computing; requests still waiting fail."""
        await self._batcher.close()

    async def _rows(self, texts: Sequence[Text]) -> list[Ints]:
        """Return the token ids of each text; those that come as ids are only checked."""
        made = iter(await self._tokenize([text for text in texts if isinstance(text, str)]))
        return [next(made) if isinstance(text, str) else self._given(text, at) for at, text in enumerate(texts)]

    def _given(self, ids: Sequence[int], at: int) -> Ints:
        for token in ids:
            if not 0 <= token < self._vocabulary:
                raise ParameterError(
                    "input",
                    f"input {at} holds the token {token}, this model has tokens 0 to {self._vocabulary - 1}; "
                    "send ids of its own tokenizer, or the text",
                )
        return np.array(ids, np.int64)

    async def _tokenize(self, texts: Sequence[str]) -> list[Ints]:
        if sum(map(len, texts)) <= INLINE_CHARS:
            return self._ids(texts)
        return await asyncio.to_thread(self._ids, texts)

    def _ids(self, texts: Sequence[str]) -> list[Ints]:
        if len(texts) == 1:
            return [np.array(self._tokenizer.encode(texts[0]).ids, np.int64)]
        return [np.array(encoding.ids, np.int64) for encoding in self._tokenizer.encode_batch(list(texts))]


def _cut(row: Ints, most: int) -> Ints:
    """Return `row` with at most `most` tokens, its closing special token kept."""
    return row if len(row) <= most else np.append(row[: most - 1], row[-1])


def _require_numbers(values: Floats) -> None:
    """Raise `EngineError` for NaN: the best of classes that cannot be compared would look like an answer."""
    if not np.isfinite(values).all():
        raise EngineError("the model's answer is not a number (NaN or infinite); its weights or its input overflow")


def softmax(logits: Floats) -> Floats:
    """Return each row of `logits` as probabilities."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: Floats = powers / powers.sum(-1, keepdims=True)
    return shares


def _head(folder: Path, config: BertConfig) -> tuple[tuple[Floats, Floats] | None, list[str]]:
    """Return weight and bias of the classifier's head with its class names; None and none where there is no head."""
    if not (folder / HEAD).is_file():
        return None, []
    tensors, card = read_floats(folder / HEAD), read_card(folder)
    classes = card.classes if card else []
    weight, bias = tensors.get("weight"), tensors.get("bias")
    expected = (len(classes), config.hidden_size)
    if weight is None or bias is None or weight.shape != expected or bias.shape != (len(classes),):
        found = {name: value.shape for name, value in tensors.items()}
        raise EngineError(
            f"{folder / HEAD} holds {found}; tokenworks.json names {len(classes)} classes: train it again"
        )
    return (weight, bias), classes
