"""What the gateway costs: the same requests to the engine directly and through the gateway with all its duties.

    python benchmarks/gateway.py [--rounds 5]

Keys, labels, routing, durable ledger, bodies and metrics are on. Engine, gateway and this client share the machine's
cores. Sides take turns within a round, and change who begins. Results: benchmarks/results/gateway.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvloop
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tokenworks.serving.address import Address
from tokenworks.serving.upstream import Upstream

RESULTS = Path(__file__).parent / "results"
WORKER = Path(__file__).parent / "_gateway_worker.py"
SENTENCE = "The gateway writes down who asked what and which model answered, before the answer ends. "
SIDES = ("engine", "gateway")


def encoder(folder: Path) -> Path:
    """Make a random encoder so small that the requests around it are what is measured."""
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *sorted(set(SENTENCE.lower().replace(",", "").replace(".", "").split())),
    ]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    size, inner = 32, 64
    shapes = {f"embeddings.{kind}_embeddings.weight": (rows, size) for kind, rows in
              {"word": len(words), "position": 64, "token_type": 2}.items()}  # fmt: skip
    at = "encoder.layer.0."
    shapes |= {f"{at}attention.self.{part}.weight": (size, size) for part in ("query", "key", "value")}
    shapes |= {f"{at}attention.output.dense.weight": (size, size)}
    shapes |= {f"{at}intermediate.dense.weight": (inner, size), f"{at}output.dense.weight": (size, inner)}
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {
        name.replace("weight", "bias"): np.zeros(shape[0], np.float32)
        for name, shape in shapes.items()
        if name[:2] == "en"
    }
    for norm in ("embeddings.LayerNorm", f"{at}attention.output.LayerNorm", f"{at}output.LayerNorm"):
        tensors |= {f"{norm}.weight": np.ones(size, np.float32), f"{norm}.bias": np.zeros(size, np.float32)}
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "bert", "architectures": ["BertModel"], "vocab_size": len(words), "hidden_size": size,
              "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": inner,
              "max_position_embeddings": 64, "type_vocab_size": 2, "hidden_act": "gelu"}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def llama(folder: Path) -> Path:
    """Make a random Llama of 16 M parameters: the size that the line itself pretrains."""
    size, layers, heads, inner, vocab = 320, 8, 5, 864, 8192
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([SENTENCE], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    shapes = {"model.embed_tokens.weight": (vocab, size), "lm_head.weight": (vocab, size)}
    tensors = {"model.norm.weight": np.ones(size, np.float32)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{part}_proj.weight": (size, size) for part in "qkvo"}
        shapes |= {f"{at}mlp.{part}_proj.weight": (inner, size) for part in ("gate", "up")}
        shapes[f"{at}mlp.down_proj.weight"] = (size, inner)
        norms = ("input_layernorm", "post_attention_layernorm")
        tensors |= {f"{at}{norm}.weight": np.ones(size, np.float32) for norm in norms}
    rng = np.random.default_rng(0)
    tensors |= {name: rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": size,
              "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
              "num_key_value_heads": heads, "vocab_size": vocab, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
              "max_position_embeddings": 2048, "hidden_act": "silu", "tie_word_embeddings": False,
              "bos_token_id": 0, "eos_token_id": 0, "torch_dtype": "float32"}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "bos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


class House:
    """A gateway process with its engine, and a connection pool to each."""

    def __init__(self, folder: Path, home: Path) -> None:
        command = [sys.executable, str(WORKER), str(folder), str(home)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.places = json.loads(self._process.stdout.readline())
        key = self.places["secret"]
        self.sides = {side: Upstream(Address(host="127.0.0.1", port=self.places[side], key=key)) for side in SIDES}

    def cpu_s(self) -> dict[str, float]:
        """Return processor seconds used so far by gateway and engine."""
        times = {side: psutil.Process(pid).cpu_times() for side, pid in self.places["pids"].items()}
        return {side: spent.user + spent.system for side, spent in times.items()}

    def rss_mb(self) -> float:
        """Return the memory of the gateway process."""
        return psutil.Process(self.places["pids"]["gateway"]).memory_info().rss / 1e6

    def close(self) -> None:
        """End both."""
        for upstream in self.sides.values():
            upstream.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


async def small(upstream: Upstream, streams: int, count: int) -> dict[str, float]:
    """Return requests per second and latencies of `count` small requests, `streams` at a time."""
    body = json.dumps({"model": "model", "input": SENTENCE}).encode()
    latencies: list[float] = []
    left = iter(range(count))  # shared by all streams

    async def ask() -> None:
        for _ in left:
            began_s = time.perf_counter()
            response = await upstream.request("POST", "/v1/embeddings", body)
            await response.read()
            assert response.status == 200
            latencies.append(time.perf_counter() - began_s)

    began_s = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(streams)))
    rate = len(latencies) / (time.perf_counter() - began_s)
    return {"rate": rate, **_percentiles(latencies)}


async def generate(upstream: Upstream, streams: int, count: int) -> dict[str, float]:
    """Return tokens per second and times to the first token of streamed answers of 128 tokens."""
    asked = {"model": "model", "prompt": SENTENCE * 4, "max_tokens": 128, "temperature": 0, "ignore_eos": True}
    body = json.dumps({**asked, "stream": True}).encode()
    firsts: list[float] = []
    left = iter(range(count))

    async def ask() -> None:
        for _ in left:
            began_s = time.perf_counter()
            response = await upstream.request("POST", "/v1/completions", body)
            tail = await anext(response)
            firsts.append(time.perf_counter() - began_s)
            async for chunk in response:
                tail = (tail + chunk)[-64:]
            assert tail.endswith(b"data: [DONE]\n\n"), tail

    began_s = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(streams)))
    rate = 128 * len(firsts) / (time.perf_counter() - began_s)
    return {"rate": rate, **_percentiles(firsts)}


def _percentiles(seconds: list[float]) -> dict[str, float]:
    ranked = sorted(seconds)
    return {"p50_ms": 1e3 * ranked[len(ranked) // 2], "p95_ms": 1e3 * ranked[int(len(ranked) * 0.95)]}


CASES = [
    ("embeddings", small, 1, 400),
    ("embeddings", small, 16, 2000),
    ("embeddings", small, 64, 2000),
    ("generation", generate, 1, 4),
    ("generation", generate, 16, 48),
]


async def measure(houses: dict[str, House], rounds: int) -> list[dict[str, Any]]:
    """Return a row for each case; round 0 warms up and does not count."""
    found: dict[tuple[str, int], dict[str, list[dict[str, float]]]] = {}
    spent: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds + 1):
        for work, run, streams, count in CASES:
            house = houses[work]
            for side in SIDES if number % 2 else reversed(SIDES):
                before = house.cpu_s()["gateway"]
                done = await run(house.sides[side], streams, count)
                if number:
                    found.setdefault((work, streams), {}).setdefault(side, []).append(done)
                    if side == "gateway":
                        spent.setdefault((work, streams), []).append((house.cpu_s()["gateway"] - before) / count)
    return [_row(case, sides, spent[case]) for case, sides in found.items()]


def _row(case: tuple[str, int], sides: dict[str, list[dict[str, float]]], spent: list[float]) -> dict[str, Any]:
    row: dict[str, Any] = {"work": case[0], "streams": case[1], "gateway_cpu_us": 1e6 * statistics.median(spent)}
    for side, runs in sides.items():
        row[side] = {name: _spread([run[name] for run in runs]) for name in runs[0]}
    pairs = list(zip(sides["gateway"], sides["engine"], strict=True))
    row["ratio"] = _spread([ours["rate"] / raw["rate"] for ours, raw in pairs])
    row["added_p50_ms"] = _spread([ours["p50_ms"] - raw["p50_ms"] for ours, raw in pairs])
    return row


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    about = report["machine"]
    lines = [
        "# Gateway: requests and tokens per second beside the engine asked directly",
        "",
        f"{about['cpu']}, {about['cores']} cores shared by engine, gateway and client; {about['os']}.",
        f"{report['rounds']} rounds, sides taking turns; median (min-max). Embeddings: a one-layer random encoder, so",
        "that the request is the work (requests/s). Generation: 16 M parameters, streams of 128 tokens (tokens/s, with",
        "p50 of the first token).",
        f"Gateway process: {report['rss_mb']:.0f} MB resident. Every request is on the durable ledger with its bodies.",
        "",
        "| work | streams | engine /s | gateway /s | ratio | engine p50 ms | added p50 ms | gateway CPU us/request |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in report["rows"]:
        cells = [_cell(row["engine"]["rate"], 0), _cell(row["gateway"]["rate"], 0), _cell(row["ratio"], 3)]
        cells += [_cell(row["engine"]["p50_ms"], 2), _cell(row["added_p50_ms"], 2), f"{row['gateway_cpu_us']:.0f}"]
        lines.append(f"| {row['work']} | {row['streams']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: dict[str, float], digits: int) -> str:
    low, high = (f"{values[name]:,.{digits}f}" for name in ("min", "max"))
    return f"{values['median']:,.{digits}f} ({low}-{high})"


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    cores = len(os.sched_getaffinity(0))
    return {"cpu": cpu, "cores": cores, "python": platform.python_version(), "os": platform.platform()}


async def main(rounds: int) -> None:
    """Measure and write the results."""
    with tempfile.TemporaryDirectory() as name:
        folders = {work: Path(name) / work / "model" for work in ("embeddings", "generation")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        made = {"embeddings": encoder(folders["embeddings"]), "generation": llama(folders["generation"])}
        houses = {work: House(folder, folder.parent) for work, folder in made.items()}
        try:
            rows = await measure(houses, rounds)
            rss_mb = houses["embeddings"].rss_mb()
        finally:
            for house in houses.values():
                house.close()
    report = {"machine": machine(), "rounds": rounds, "rss_mb": rss_mb, "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gateway.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "gateway.md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    uvloop.run(main(parser.parse_args().rounds))
