"""What of a model costs time: how many weights stand where, and what a token leaves behind in the cache."""

from __future__ import annotations

from typing import Annotated

import msgspec

ROTARY = 64  # rotary part of MLA's keys: DeepSeek-V2 (arXiv 2405.04434), table of hyper-parameters; kept ever since

Count = Annotated[int, msgspec.Meta(ge=1)]
Some = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e15)]


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder's shape, in the words of its `config.json`. Weights are counted, never bytes."""

    layers: Count
    hidden: Count
    heads: Count
    head_size: Count
    kv_heads: Some = 0  # 0: the cache is one latent for all heads (MLA)
    latent: Some = 0  # width of that latent, rotary part included
    query_rank: Some = 0  # MLA's compressed query; 0: none
    value_size: Some = 0  # of a head, where it differs from `head_size`
    vocabulary: Count
    tied: bool = False  # the output layer is the embedding
    ffn: Some = 0  # inner width of a dense layer
    dense_layers: Some = 0  # how many layers have no experts, where the others have
    experts: Some = 0
    active_experts: Some = 0
    shared_experts: Some = 0
    expert_ffn: Some = 0
    window: Some = 0  # tokens that a sliding layer sees
    window_layers: Some = 0
    linear_layers: Some = 0  # layers with a fixed state in the place of a cache (gated delta net, Mamba)
    linear_weights: Amount = 0  # of one such layer; 0: as of an attention
    linear_state: Amount = 0  # numbers that one such layer keeps of a sequence, in 4 bytes each
    sparse_tokens: Some = 0  # sparse attention reads so many tokens of the past, and an index of all
    bits: Annotated[float, msgspec.Meta(gt=0, le=64)] = 16  # of a weight as published
    aliases: tuple[str, ...] = ()  # other names under which it is known
    source: str = ""  # where the shape was read, and when

    @property
    def moe_layers(self) -> int:
        """Return how many layers have experts."""
        return self.layers - self.dense_layers if self.experts else 0

    @property
    def full_layers(self) -> int:
        """Return how many layers keep every token."""
        return self.layers - self.window_layers - self.linear_layers

    @property
    def attention_weights(self) -> float:
        """Return the weights of all layers' attention or of what stands in its place."""
        linear = self.linear_layers * (self.linear_weights or self._attention())
        return (self.layers - self.linear_layers) * self._attention() + linear

    @property
    def dense_weights(self) -> float:
        """Return the weights outside attention that every token passes, the output layer left out."""
        dense = (self.layers - self.moe_layers) * 3.0 * self.hidden * self.ffn
        return dense + self.moe_layers * self.shared_experts * 3.0 * self.hidden * self.expert_ffn

    @property
    def expert_weights(self) -> float:
        """Return the weights of one expert in all layers that have them."""
        return self.moe_layers * 3.0 * self.hidden * self.expert_ffn

    @property
    def output_weights(self) -> float:
        """Return the weights of the output layer."""
        return float(self.vocabulary * self.hidden)

    @property
    def always(self) -> float:
        """Return the weights that every token passes."""
        return self.attention_weights + self.dense_weights + self.output_weights

    @property
    def active(self) -> float:
        """Return the weights that one token passes."""
        return self.always + self.active_experts * self.expert_weights

    @property
    def total(self) -> float:
        """Return all weights, the embedding included."""
        embedding = 0.0 if self.tied else self.output_weights
        return self.always + embedding + self.experts * self.expert_weights

    @property
    def kv_width(self) -> int:
        """Return how many numbers a token leaves behind in a layer."""
        return 2 * self.kv_heads * self.head_size if self.kv_heads else self.latent

    def _attention(self) -> float:
        value = self.value_size or self.head_size
        if self.kv_heads:
            return 2.0 * self.hidden * self.head_size * (self.heads + self.kv_heads)
        # MLA, DeepSeek-V2 eq. 9 to 19: queries, the joint latent, what it is expanded to, and the output.
        query = self.query_rank * (self.hidden + self.heads * self.head_size) or (
            self.hidden * self.heads * self.head_size
        )
        expanded = (self.latent - ROTARY) * self.heads * (self.head_size - ROTARY + value)
        return float(query + self.hidden * self.latent + expanded + self.heads * value * self.hidden)
