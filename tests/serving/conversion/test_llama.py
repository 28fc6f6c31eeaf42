"""The graph gives the logits of transformers for every shape of the family."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenworks.core.errors import EngineError
from tokenworks.serving.conversion.llama import LlamaGraph
from tokenworks.serving.conversion.shape import read_shape
from tokenworks.serving.conversion.weights import read_weights
from tokenworks.serving.engine import Options, Sampling
from tokenworks.serving.folder import open_folder

ov = pytest.importorskip("openvino")
torch = pytest.importorskip("torch")
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILY: dict[str, dict[str, Any]] = {
    "grouped queries": {},
    "a head each": {"num_key_value_heads": 4},
    "tied embeddings": {"tie_word_embeddings": True},
    "wide heads": {"head_dim": 32},
    "Llama 3 rope": {"rope_parameters": LLAMA3},
    "linear rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    "Qwen 2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},
    "Qwen 3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 16},
    "Mistral": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None},
}
IDS = np.arange(7, 47, dtype=np.int64).reshape(1, -1)


def logits_of(folder: Path, precision: str) -> np.ndarray:
    graph = LlamaGraph(read_shape(open_folder(folder).config), read_weights(folder), precision).build()
    request = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    places = np.arange(IDS.shape[1], dtype=np.int64).reshape(1, -1)
    whole = {"input_ids": IDS, "attention_mask": np.ones_like(IDS), "position_ids": places}
    return np.array(request.infer(whole | {"beam_idx": np.zeros(1, np.int32)})["logits"])


def reference(folder: Path) -> np.ndarray:
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    with torch.inference_mode():
        return np.array(network(input_ids=torch.tensor(IDS)).logits.numpy())


@pytest.mark.parametrize("kind", FAMILY)
def test_every_member_of_the_family_agrees_with_transformers(kind: str, make_llama: Callable[..., Path]) -> None:
    folder = make_llama(**FAMILY[kind])
    np.testing.assert_allclose(logits_of(folder, "f32"), reference(folder), atol=2e-4)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.01), ("int8", 0.08)])
def test_smaller_weights_stay_near(precision: str, tolerance: float, tiny_llama: Path) -> None:
    wanted = reference(tiny_llama)
    assert np.abs(logits_of(tiny_llama, precision) - wanted).max() < tolerance * np.abs(wanted).max()


def test_greedy_text_agrees_with_the_reference_on_thirty_of_thirty_two_prompts(tiny_llama: Path) -> None:
    pytest.importorskip("openvino_genai")
    from pydoc_data.topics import topics

    from tokenworks.serving.engines import openvino, transformers

    prompts = [text[:120] for text in list(topics.values())[:32]]

    async def answers(engine: Any) -> list[str]:
        async def one(prompt: str) -> str:
            stream = engine.generate(prompt, Sampling(max_tokens=24, temperature=0.0))
            return "".join([piece.text async for piece in stream])

        return await asyncio.gather(*(one(prompt) for prompt in prompts))

    ours = asyncio.run(answers(openvino.load(tiny_llama, Options(precision="f32"))))
    theirs = asyncio.run(answers(transformers.load(tiny_llama, Options())))
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 30


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "yarn"),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 32}, "sliding_window 32"),
    ],
)
def test_what_the_graph_cannot_express_is_refused(changes: dict[str, Any], why: str, tiny_llama: Path) -> None:
    with pytest.raises(EngineError, match=why):
        read_shape({**open_folder(tiny_llama).config, **changes})
