"""Write a trained model as a Hugging Face folder. Nothing in it depends on when or how fast it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from tokenizers import Tokenizer
from torch import Tensor

from tokenworks.core.files import write_atomic
from tokenworks.line.train.causal.llama import ROPE_THETA, Shape, hugging_face_names
from tokenworks.line.train.causal.operators import EPSILON
from tokenworks.line.train.causal.tokenizer import END, END_TURN, PAD, tokenizer_config


def write_folder(
    folder: Path, shape: Shape, weights: dict[str, Tensor], tokenizer: Tokenizer, about: dict[str, Any]
) -> None:
    """Write config, weights in their own type, tokenizer and `tokenworks.json` (`about`)."""
    end, pad = tokenizer.token_to_id(END), tokenizer.token_to_id(PAD)
    dtype = weights["embed"].dtype
    named = {name: value.to(dtype, copy=True).contiguous() for name, value in hugging_face_names(shape, weights)}
    ends = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": pad}
    write_atomic(folder / "model.safetensors", save(named, metadata={"format": "pt"}))
    write_atomic(folder / "config.json", _json(_config(shape, dtype) | ends))
    stops = {"eos_token_id": [end, tokenizer.token_to_id(END_TURN)]}  # a model tuned from this one ends its turns so
    write_atomic(folder / "generation_config.json", _json({"do_sample": False, **ends, **stops}))
    tokenizer.encode_special_tokens = False
    write_atomic(folder / "tokenizer.json", tokenizer.to_str(pretty=False).encode())
    write_atomic(folder / "tokenizer_config.json", tokenizer_config(shape.context))
    write_atomic(folder / "tokenworks.json", _json(about))


def _config(shape: Shape, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dtype": str(dtype).removeprefix("torch."),
        "head_dim": shape.width // shape.heads,
        "hidden_act": "silu",
        "hidden_size": shape.width,
        "initializer_range": 0.02,
        "intermediate_size": shape.hidden,
        "max_position_embeddings": shape.context,
        "mlp_bias": False,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.heads,
        "rms_norm_eps": EPSILON,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "rope_theta": ROPE_THETA,  # read from here by engines that do not know `rope_parameters`
        "tie_word_embeddings": shape.tied,
        "torch_dtype": str(dtype).removeprefix("torch."),  # the name before transformers 5
        "use_cache": True,
        "vocab_size": shape.vocabulary,
    }


def _json(table: dict[str, Any]) -> bytes:
    return json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
