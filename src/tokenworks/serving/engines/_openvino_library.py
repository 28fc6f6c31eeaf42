"""What OpenVINO GenAI is told: how a model is loaded, and how an answer is drawn. Only calls load the library."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenworks.core.errors import EngineError
from tokenworks.serving.conversion.shape import read_shape
from tokenworks.serving.engine import Options, Sampling
from tokenworks.serving.folder import ModelFolder

KV_BYTES = (256 << 20, 4 << 30)  # keys and values may take as much as the weights, within these bounds
STEP_TOKENS = 256
BLOCK_TOKENS = 32  # of OpenVINO's paged attention on CPUs
PRECISIONS = {"f32": "f32", "bf16": "bf16", "int8": "bf16"}  # weights -> arithmetic, where the chip has it


def choose_precision(wanted: str) -> str:
    """Return the precision of the weights: 'auto' is bf16 where the chip multiplies it, else f32."""
    import openvino as ov  # knows the chip

    if wanted == "auto":
        able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "bf16" if "BF16" in able else "f32"
    if wanted not in PRECISIONS:
        raise EngineError(f"precision {wanted!r} does not exist; there are: auto, {', '.join(PRECISIONS)}")
    return wanted


def new_pipeline(graph: Path, model: ModelFolder, options: Options, precision: str, *, prefixes: bool = True) -> Any:
    """Return the loaded model, which finds the prefixes of prompts again where `prefixes` says so."""
    import openvino as ov
    import openvino_genai as genai

    able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    arithmetic = PRECISIONS[precision] if "BF16" in able else "f32"
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = options.max_batch
    scheduler.max_num_batched_tokens = STEP_TOKENS  # bounds one step, and with it how long a new request waits
    scheduler.num_kv_blocks = kv_blocks(model, options.max_batch, 4 if arithmetic == "f32" else 2)
    scheduler.enable_prefix_caching = prefixes
    properties = {
        "INFERENCE_NUM_THREADS": options.threads,
        "INFERENCE_PRECISION_HINT": arithmetic,
        "KV_CACHE_PRECISION": arithmetic,
        "sampler_num_threads": options.threads,
    }
    try:
        return genai.ContinuousBatchingPipeline(str(graph), scheduler, "CPU", properties)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1]
        raise EngineError(f"{model.path}: OpenVINO cannot load the converted model ({first})") from error


def kv_blocks(model: ModelFolder, max_batch: int, value_bytes: int) -> int:
    """Return blocks for every sequence at full length, within the bounds, but always for two of them.

    OpenVINO takes the memory at once. A batch that outgrows it is not refused: its youngest answers wait.
    """
    shape = read_shape(model.config)
    each = 2 * shape.layers * shape.kv_heads * shape.head_size * BLOCK_TOKENS * value_bytes
    weights = sum(file.stat().st_size for file in model.path.glob("*.safetensors"))
    budget = min(max(weights, KV_BYTES[0]), KV_BYTES[1])
    full = -(-model.context_length // BLOCK_TOKENS) + 1
    return int(max(2 * full, min(max_batch * full, budget // each)))


def likeliest(sampling: Sampling) -> bool:
    """Return whether each token depends on the tokens before it alone: no draws, no penalties, no grammar."""
    penalties = (sampling.presence_penalty, sampling.frequency_penalty, sampling.repetition_penalty - 1.0)
    return sampling.temperature == 0 and sampling.json_schema is None and not any(penalties)


def generation_config(sampling: Sampling, index: int, stop_ids: Sequence[int]) -> Any:
    """Return the library's own form of `sampling` for choice `index`."""
    import openvino_genai as genai

    config = genai.GenerationConfig()
    config.max_new_tokens = sampling.max_tokens
    config.ignore_eos = sampling.ignore_eos
    if stop_ids:
        config.set_eos_token_id(stop_ids[0])
        config.stop_token_ids = set(stop_ids)
    config.do_sample = sampling.temperature > 0
    if sampling.temperature > 0:
        config.temperature, config.top_p = sampling.temperature, sampling.top_p
        if sampling.top_k:
            config.top_k = sampling.top_k
        seed = random.getrandbits(32) if sampling.seed is None else sampling.seed
        config.rng_seed = (seed + index) % (1 << 32)
    config.presence_penalty, config.frequency_penalty = sampling.presence_penalty, sampling.frequency_penalty
    config.repetition_penalty = sampling.repetition_penalty
    if sampling.logprobs is not None:
        config.logprobs = 1
    return config
