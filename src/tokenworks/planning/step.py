"""How long a step of continuous batching takes: bytes moved, operations done, words exchanged, kernels launched.

The shape of the formulas is that of `docs/planner.md`; the constants are `Priors`, chosen once on the open measured
rows and never fitted again. Everything takes numbers or numpy arrays. Knows nothing of traces, prices and engines.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tokenworks.planning.architecture import ROTARY, Architecture
from tokenworks.planning.machine import Machine, weight_bits

Numbers = npt.NDArray[np.float64]
SMOOTH = 3.0  # memory and arithmetic overlap, but not wholly: their norm of this order in the place of the larger
LINK_SHARE = 0.8  # of a link's bandwidth that collectives reach


class Priors(msgspec.Struct, frozen=True, kw_only=True):
    """The model's constants, one set for all machines, engines and models. See `docs/planner.md` for their errors."""

    bandwidth_share: float = 0.95  # of the data sheet, reading weights
    cache_share: float = 0.8  # the same, reading keys and values
    decode_share: float = 0.7  # of the data sheet's FLOP/s, one token a sequence
    prefill_share: float = 0.75
    expert_prefill_share: float = 0.1  # scattered over experts: small matrices, sorted and exchanged
    layer_s: float = 62e-6  # kernels of a layer, launched one after the other
    expert_layer_s: float = 42e-6  # more of them where tokens are sorted to experts
    sparse_layer_s: float = 95e-6  # and where an index chooses the tokens that attention reads
    linear_layer_s: float = 20e-6
    reduce_s: float = 1e-6  # latency of one all-reduce that no kernel hides
    sequence_s: float = 25e-6  # sampling and bookkeeping of one running sequence
    request_s: float = 0.06  # of a request before its first step: HTTP, tokens, a place in the schedule


PRIORS = Priors()


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A model on some devices. `replicas` copies of the attention share the experts (data-parallel attention)."""

    model: Architecture
    machine: Machine
    tensor: int = 1  # devices among which each matrix is split
    replicas: int = 1
    precision: str = "bf16"
    kv_bits: float = 16.0

    @property
    def devices(self) -> int:
        """Return how many devices it stands on."""
        return self.tensor * self.replicas

    @property
    def weight_gb(self) -> float:
        """Return the memory that the weights take on each device."""
        model, byte = self.model, weight_bits(self.precision) / 8
        own = model.attention_weights * attention_bytes(self) / self.tensor
        embedding = (1 if model.tied else 2) * model.output_weights * 2 / self.devices
        return (
            own + (model.dense_weights + model.experts * model.expert_weights) * byte / self.devices + embedding
        ) / 1e9

    @property
    def kv_shards(self) -> int:
        """Return into how many parts the cache of a sequence is split; the rest of the devices hold copies."""
        return min(self.tensor, self.model.kv_heads or 1)

    def most_sequences(self, context: float) -> int:
        """Return how many sequences of `context` tokens fit, with a tenth of the memory left free."""
        room = (self.machine.memory_gb * 0.9 - self.weight_gb) * 1e9
        model = self.model
        kept = model.full_layers * context + model.window_layers * min(context, model.window)
        each = model.kv_width * kept * self.kv_bits / 8 / self.kv_shards
        each += model.linear_layers * model.linear_state * 4 / self.tensor
        return max(int(room / each), 0) * self.replicas


def attention_bytes(of: Deployment) -> float:
    """Return bytes of an attention weight: 4-bit recipes of mixtures of experts leave attention in 16 bits."""
    byte = weight_bits(of.precision) / 8
    return 2.0 if byte < 1 and of.model.experts else byte


def decode_s(of: Deployment, batch: Any, context: Any, priors: Priors = PRIORS) -> Numbers:
    """Return seconds of a step that makes one token for each of `batch` sequences with `context` tokens each."""
    batch, context = np.asarray(batch, float), np.asarray(context, float)
    memory = _weights_s(of, batch, priors) + _cache_s(of, batch, context, priors)
    work = _decode_flops(of, batch, context, priors)
    return (memory**SMOOTH + work**SMOOTH) ** (1 / SMOOTH) + _comm_s(of, batch, priors) + overhead_s(of, batch, priors)


def prefill_s(of: Deployment, tokens: Any, before: Any = 0.0, priors: Priors = PRIORS) -> Numbers:
    """Return the seconds that reading `tokens` of a prompt adds to a step, `before` of it being read already."""
    tokens, before = np.asarray(tokens, float), np.asarray(before, float)
    model, machine = of.model, of.machine
    speed = machine.flops(of.precision)
    plain = 2 * model.always * tokens / speed / priors.prefill_share
    routed = 2 * model.active_experts * model.expert_weights * tokens / speed / priors.expert_prefill_share
    seen = before * tokens + tokens**2 / 2  # pairs of tokens, each reading those before it
    pair = 4 * model.heads * model.head_size
    if model.sparse_tokens:
        pairs = np.minimum(seen, tokens * model.sparse_tokens) * pair + seen * 128 * ROTARY  # 64 index heads of 128
    else:
        pairs = seen * pair
    sliding = np.minimum(seen, tokens * model.window) * pair
    attention = (model.full_layers * pairs + model.window_layers * sliding) / machine.flops("bf16")
    local = (plain + routed + attention / priors.prefill_share) / of.devices
    return np.asarray(local + _words_s(of, tokens) / of.replicas)


def overhead_s(of: Deployment, batch: Any, priors: Priors = PRIORS) -> Numbers:
    """Return the seconds of a step that no larger machine would save."""
    model = of.model
    kernels = model.layers * priors.layer_s + model.moe_layers * priors.expert_layer_s
    kernels += model.linear_layers * priors.linear_layer_s
    if model.sparse_tokens:
        kernels += model.layers * priors.sparse_layer_s
    return np.asarray(kernels + priors.sequence_s * np.asarray(batch, float))


def tpot_s(of: Deployment, batch: Any, prompt: Any, answer: Any, priors: Priors = PRIORS) -> Numbers:
    """Return seconds per output token in the steady state of `batch` requests under way.

    Each of the others begins anew once per answer, and its prompt is read in between (economics page, 0.1).
    """
    batch, prompt, answer = (np.asarray(one, float) for one in (batch, prompt, answer))
    step = decode_s(of, batch, prompt + answer / 2, priors)
    return np.asarray(step + np.maximum(batch - 1, 0) * prefill_s(of, prompt, 0.0, priors) / answer)


def ttft_s(of: Deployment, batch: Any, prompt: Any, priors: Priors = PRIORS, queued: Any = 0.0) -> Numbers:
    """Return seconds to the first token of a prompt that joins `batch` others and waits for `queued` other prompts.

    Two steps: the one under way when it comes, and its own.
    """
    steps = 2 * decode_s(of, batch, prompt, priors)
    return np.asarray(priors.request_s + steps + (1 + np.asarray(queued, float)) * prefill_s(of, prompt, 0.0, priors))


def weights_s(of: Deployment, tokens: Any, priors: Priors = PRIORS) -> Numbers:
    """Return the seconds that reading the weights takes when `tokens` pass: the floor of a step of prompts alone."""
    return _weights_s(of, np.asarray(tokens, float), priors)


def _weights_s(of: Deployment, tokens: Numbers, priors: Priors) -> Numbers:
    model, byte = of.model, weight_bits(of.precision) / 8
    read = model.attention_weights * attention_bytes(of) / of.tensor
    read += model.dense_weights * byte / of.devices
    # Output layers are left in 16 bits where attention is, and are never below 8.
    read += model.output_weights * min(max(attention_bytes(of), 1.0), 2.0) / of.devices
    if not model.experts:
        return np.asarray(read / (of.machine.bandwidth_tb_s * 1e12 * priors.bandwidth_share) + 0 * tokens)
    touched = model.experts * (1 - (1 - model.active_experts / model.experts) ** tokens)  # of independent choices
    moved = read + touched * model.expert_weights * byte / of.devices
    return np.asarray(moved / (of.machine.bandwidth_tb_s * 1e12 * priors.bandwidth_share))


def _cache_s(of: Deployment, batch: Numbers, context: Numbers, priors: Priors) -> Numbers:
    model = of.model
    read = np.minimum(context, model.sparse_tokens) if model.sparse_tokens else context
    kept = model.full_layers * read + model.window_layers * np.minimum(context, model.window)
    each = model.kv_width * kept * of.kv_bits / 8
    if model.sparse_tokens:
        each = each + model.layers * context * 128  # the index keeps 128 bytes of each token
    state = model.linear_layers * model.linear_state * 4 * 2 / of.tensor  # read and written
    own = batch / of.replicas
    return np.asarray(own * (each / of.kv_shards + state) / (of.machine.bandwidth_tb_s * 1e12 * priors.cache_share))


def _decode_flops(of: Deployment, batch: Numbers, context: Numbers, priors: Priors) -> Numbers:
    model = of.model
    read = np.minimum(context, model.sparse_tokens) if model.sparse_tokens else context
    # MLA reads the latent as it is: each head multiplies its whole width twice, once without the rotary part.
    pair = 4 * model.heads * model.head_size if model.kv_heads else 2 * model.heads * (2 * model.latent - ROTARY)
    tokens = model.full_layers * read + model.window_layers * np.minimum(context, model.window)
    attention = batch * pair * tokens / of.devices / of.machine.flops("bf16")
    matrices = batch * 2 * model.active / of.devices / of.machine.flops(of.precision)
    return np.asarray((attention + matrices) / priors.decode_share)


def _comm_s(of: Deployment, batch: Numbers, priors: Priors) -> Numbers:
    if _joined(of) < 2:
        return 0 * batch
    return 2 * of.model.layers * priors.reduce_s + _words_s(of, batch / of.replicas)


def _words_s(of: Deployment, tokens: Numbers) -> Numbers:
    """Return seconds of exchanging the hidden states of `tokens` in a ring, twice a layer."""
    joined = _joined(of)
    if joined < 2 or not of.machine.link_gb_s:
        return 0 * tokens
    sent = 2 * (joined - 1) / joined * tokens * of.model.hidden * 2
    return np.asarray(2 * of.model.layers * sent / (of.machine.link_gb_s * 1e9 * LINK_SHARE))


def _joined(of: Deployment) -> int:
    return of.devices if of.model.experts else of.tensor
