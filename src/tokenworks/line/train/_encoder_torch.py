"""The BERT encoder in torch, lean enough to train on a CPU. It knows tensors and folders, not tasks."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokenworks.core.encoder_folder import WEIGHTS, BertConfig, read_config
from tokenworks.core.errors import DataError, MissingExtraError
from tokenworks.core.stage import Progress, silent

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Ids = NDArray[np.int64]
WORDS = "embeddings.word_embeddings.weight"
SHORT = 24  # tokens; below, attention in float32 is faster than in bfloat16
_QKV = ("query", "key", "value")


class Encoder:
    """Token ids to unit sentence embeddings: BERT, mean over the real tokens, length 1.

    `weights` maps names to float32 leaf tensors; query, key and value are one matrix. The word table may be cut down
    to the rows that the training texts use (`use_words`), which spares the optimiser the other nine tenths.
    """

    def __init__(self, config: BertConfig, weights: Mapping[str, Tensor]) -> None:
        self.config = config
        self.weights: dict[str, Tensor] = dict(weights)
        self.rows: Ids | None = None
        self.draws: torch.Generator | None = None  # where dropout draws from; None: no dropout

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Return [batch, hidden] float32 unit vectors for [batch, length] ids; `mask` None means nothing is padding."""
        import torch.nn.functional as nn

        hidden = self.hidden(ids, mask).float()
        pooled = hidden.mean(1) if mask is None else (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return nn.normalize(pooled, dim=-1)

    def hidden(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Return the last layer's states, [batch, length, hidden]."""
        import torch.nn.functional as nn

        weights = self.weights
        states = nn.embedding(ids, weights[WORDS]) + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        states = self._norm("embeddings.LayerNorm", states + weights["embeddings.token_type_embeddings.weight"][0])
        states = self._thin(states)
        bias = None if mask is None else (1.0 - mask.to(states.dtype))[:, None, None, :] * -1e4
        for layer in range(self.config.num_hidden_layers):
            states = self._layer(f"encoder.layer.{layer}.", states, bias)
        return states

    def _layer(self, at: str, states: Tensor, bias: Tensor | None) -> Tensor:
        """Return the states after one transformer layer: attention, then the feed-forward part."""
        import torch.nn.functional as nn

        batch, length, size = states.shape
        heads = self.config.num_attention_heads
        qkv = self._linear(at + "qkv", states).view(batch, length, 3, heads, size // heads).permute(2, 0, 3, 1, 4)
        attended = attend(qkv[0], qkv[1], qkv[2], bias)
        joined = self._linear(at + "attention.output.dense", attended.transpose(1, 2).reshape(batch, length, size))
        states = self._norm(at + "attention.output.LayerNorm", states + self._thin(joined))
        inner = nn.gelu(self._linear(at + "intermediate.dense", states))
        outer = self._thin(self._linear(at + "output.dense", inner))
        return self._norm(at + "output.LayerNorm", states + outer)

    def _linear(self, name: str, states: Tensor) -> Tensor:
        import torch.nn.functional as nn

        return nn.linear(states, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def _norm(self, name: str, states: Tensor) -> Tensor:
        import torch.nn.functional as nn

        shape, eps = (states.shape[-1],), self.config.layer_norm_eps
        return nn.layer_norm(states, shape, self.weights[name + ".weight"], self.weights[name + ".bias"], eps)

    def _thin(self, states: Tensor) -> Tensor:
        return states if self.draws is None else thin(states, self.config.hidden_dropout_prob, self.draws)

    def use_words(self, rows: Ids) -> None:
        """Keep only `rows` (sorted ids) of the word table; ids given to `forward` count within them from now on."""
        import torch

        self.rows = rows
        self.full_words = self.weights[WORDS]
        self.weights[WORDS] = self.full_words[torch.from_numpy(rows)].clone()

    def folder_weights(self) -> dict[str, Tensor]:
        """Return the weights under their Hugging Face names, the word table whole again."""
        import torch

        out: dict[str, Tensor] = {}
        for name, value in self.weights.items():
            tensor = value.detach()
            if ".qkv." in name:
                for part, chunk in zip(_QKV, tensor.chunk(3), strict=True):
                    out[name.replace("qkv", f"attention.self.{part}")] = chunk.contiguous()
            elif name == WORDS and self.rows is not None:
                out[name] = self.full_words.clone()
                out[name][torch.from_numpy(self.rows)] = tensor
            else:
                out[name] = tensor.contiguous()
        return out


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Return softmax(q k' / sqrt(d) + bias) v, all [batch, heads, length, size].

    Written out: torch's fused kernel needs 4 to 10 times as long for the gradient of short bfloat16 rows on a CPU
    (12.1 ms to 1.2 ms for 32 x 12 x 16 x 32), and the shortest rows are fastest in float32.
    """
    import torch

    scale = query.shape[-1] ** -0.5
    if query.shape[-2] > SHORT:
        scores = query @ key.transpose(-1, -2) * scale
        return (scores if bias is None else scores + bias).softmax(-1).to(value.dtype) @ value
    with torch.autocast("cpu", enabled=False):
        scores = query.float() @ key.float().transpose(-1, -2) * scale
        return ((scores if bias is None else scores + bias).softmax(-1) @ value.float()).to(value.dtype)


def thin(states: Tensor, share: float, draws: torch.Generator) -> Tensor:
    """Return `states` after dropout of `share` in steps of 1/256: a byte a decision, as 8 come from one random draw."""
    import torch

    cut = round(share * 256)
    if cut == 0:
        return states
    drawn = torch.empty((states.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=draws)
    kept = (drawn.view(torch.uint8)[: states.numel()] >= cut).view(states.shape)
    return states * kept.to(states.dtype).mul_(256 / (256 - cut))


def load_encoder(folder: Path) -> Encoder:
    """Return the encoder at `folder` with float32 weights; raise `DataError` naming a missing tensor."""
    import torch
    from safetensors.torch import load_file

    config = read_config(folder)
    stored = {name.removeprefix("bert."): value.float() for name, value in load_file(folder / WEIGHTS).items()}
    weights: dict[str, Tensor] = {}
    try:
        for name in tensor_names(config):
            if ".qkv." in name:
                parts = [stored[name.replace("qkv", f"attention.self.{part}")] for part in _QKV]
                weights[name] = torch.cat(parts)
            else:
                weights[name] = stored[name].clone()
    except KeyError as error:
        raise DataError(
            f"{folder / WEIGHTS} has no tensor {error}; it is not the BERT that config.json says"
        ) from error
    return Encoder(config, weights)


def tensor_names(config: BertConfig) -> list[str]:
    """Return the names of all trained tensors, bottom to top, query, key and value as one `qkv`."""
    tables = [f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
    names = [*tables, "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"]
    parts = ("qkv", "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense")
    for layer in range(config.num_hidden_layers):
        for part in (*parts, "output.LayerNorm"):
            names += [f"encoder.layer.{layer}.{part}.{kind}" for kind in ("weight", "bias")]
    return names


def pad(rows: Sequence[Ids], pad_id: int) -> tuple[Tensor, Tensor | None]:
    """Return ids [batch, longest] and the mask of real tokens, None where all are equally long."""
    import torch

    lengths = np.array([len(row) for row in rows])
    longest = int(lengths.max())
    ids = np.full((len(rows), longest), pad_id, np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
    if int(lengths.min()) == longest:
        return torch.from_numpy(ids), None
    mask = (np.arange(longest)[None, :] < lengths[:, None]).astype(np.float32)
    return torch.from_numpy(ids), torch.from_numpy(mask)


def batches_by_length(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[Ids]:
    """Return shuffled batches of row numbers, each of similar length: shuffle, sort within stretches, shuffle again."""
    order = rng.permutation(len(lengths))
    stretch = size * max(8, math.isqrt(len(lengths) // size + 1))
    batches: list[Ids] = []
    for start in range(0, len(order), stretch):
        part = order[start : start + stretch]
        part = part[np.argsort(np.asarray(lengths)[part], kind="stable")]
        batches += [part[at : at + size] for at in range(0, len(part), size)]
    return [batches[at] for at in rng.permutation(len(batches))]


def has_bf16() -> bool:
    """Return whether this processor multiplies bfloat16 in hardware, so that autocast gains speed."""
    import torch

    capable = torch.cpu.get_capabilities()
    return any(capable.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def embed_rows(
    encoder: Encoder, rows: Sequence[Ids], *, batch: int = 64, bf16: bool = False, progress: Progress = silent
) -> Tensor:
    """Return the embeddings [rows, hidden] without gradients, computed in batches of similar length."""
    import torch

    out = torch.empty(len(rows), encoder.config.hidden_size)
    order = np.argsort([len(row) for row in rows], kind="stable")
    draws, encoder.draws = encoder.draws, None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            ids, mask = pad([rows[at] for at in chosen], encoder.config.pad_token_id)
            out[torch.from_numpy(chosen)] = encoder.forward(ids, mask)
            progress(start + len(chosen), len(rows), unit="texts")
    encoder.draws = draws
    return out


def prepare(threads: int) -> None:
    """Set this process up for training with `threads` of compute; call it before anything imports torch.

    Raises `MissingExtraError` where torch is not installed.
    """
    # OpenMP's threads spin while they wait for each other. With anybody else on the cores - the gateway, an engine -
    # that cost 95 % of the speed here (3 rows/s to 63-78 when they sleep instead); read when libgomp is loaded.
    os.putenv("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import torch  # heavy: only training needs it
    except ImportError as error:
        raise MissingExtraError("training a model", "train") from error
    torch.set_num_threads(threads)
    quiet_allocator()


def quiet_allocator() -> None:
    """Make glibc keep freed memory: by default each big tensor is mapped and unmapped anew, page faults and all."""
    import ctypes

    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # musl and macOS have neither the call nor the trouble
        return
    m_trim_threshold, m_mmap_threshold, huge = -1, -3, 1 << 30
    libc.mallopt(m_mmap_threshold, huge)
    libc.mallopt(m_trim_threshold, huge)
