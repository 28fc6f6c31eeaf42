"""Generation tokens per second: the raw engine in process beside the engine host and the whole gateway, interleaved.

    python benchmarks/generation.py [--folder DIR] [--rounds 5] [--tokens 128]

Without `--folder` a random Llama of 16 M parameters is made. The gateway is `tokenworks serve` with every duty on: key,
label, ledger, bodies. Greedy, streamed, end-of-sequence ignored, prompts of about 128 tokens; ratios are to the raw
engine of the same round. Writes results/generation-TOKENS.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tokenworks.factory.doctor import machine

STREAMS = (1, 8, 16, 32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or make_model(Path(scratch) / "model")
        options = json.dumps({"cache": str(Path(scratch) / "cache"), "threads": chosen.threads})
        write(measure(folder, options, chosen), chosen)


def write(found: dict[str, Any], chosen: argparse.Namespace) -> None:
    """Keep the figures as data and as a table, and print the table."""
    lines = [
        "# Generation: tokens per second",
        "",
        f"{found['machine']['cpu']}, {found['machine']['cores']} cores shared by engine, gateway and client; "
        f"{chosen.tokens} tokens a stream, {chosen.rounds} interleaved rounds, median (min - max).",
        "",
        "| streams | raw engine in process | engine host, HTTP | ratio | gateway and ledger | ratio |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        cells = [
            f"{row[way]['tokens_per_s']:,} ({row[way]['min']:,} - {row[way]['max']:,})"
            + ("" if way == "raw" else f" | {row[way]['ratio_to_raw']:.3f}")
            for way in ("raw", "host", "gateway")
        ]
        lines.append(f"| {row['streams']} | " + " | ".join(cells) + " |")
    results = Path(__file__).parent / "results"
    name = f"generation-{chosen.tokens}"
    (results / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (results / f"{name}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def measure(folder: Path, options: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Return medians, minima and maxima of tokens/s for each number of streams and each way."""
    raw = Raw(folder, options)
    host = Host(folder, options)
    ways: dict[str, Callable[[list[str], int], float]] = {
        "raw": raw.run,
        "host": lambda prompts, tokens: over_http(host.url, "none", "m", prompts, tokens),
    }
    gateway = Gateway(folder, folder.parent / "home")
    ways["gateway"] = lambda prompts, tokens: over_http(gateway.url, gateway.key, gateway.model, prompts, tokens)
    prompts = Prompts(folder)
    for run in ways.values():
        run(prompts.take(4), 16)  # warm
    rows = []
    for streams in STREAMS:
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(chosen.rounds):
            for name, run in ways.items():
                found[name].append(run(prompts.take(streams), chosen.tokens))
        row: dict[str, Any] = {"streams": streams}
        for name, values in found.items():
            ratios = [value / base for value, base in zip(values, found["raw"], strict=True)]
            row[name] = {
                "tokens_per_s": round(statistics.median(values)),
                "min": round(min(values)),
                "max": round(max(values)),
                "ratio_to_raw": round(statistics.median(ratios), 3),
            }
        rows.append(row)
        print(streams, {name: row[name] for name in ways}, file=sys.stderr, flush=True)
    host_rss = host.rss_mb()
    host.end()
    gateway.end()
    return {"rows": rows, "host_load_s": host.load_s, "host_rss_mb": host_rss, "machine": machine()}


class Prompts:
    """Different prompts of about 128 tokens from Python's own help, so that no prefix is found in a cache."""

    def __init__(self, folder: Path) -> None:
        from pydoc_data.topics import topics

        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._ids = self._tokenizer.encode("\n".join(topics.values())).ids
        self._place = 0

    def tokens(self, prompt: str) -> int:
        """Return how many tokens `prompt` has."""
        return len(self._tokenizer.encode(prompt).ids)

    def take(self, count: int) -> list[str]:
        """Return the next `count` prompts."""
        found = []
        for _ in range(count):
            self._place = (self._place + 131) % (len(self._ids) - 200)
            found.append(self._tokenizer.decode(self._ids[self._place : self._place + 126]))
        return found


class Raw:
    """The library's pipeline, stepped in this process with nothing around it."""

    def __init__(self, folder: Path, options: str) -> None:
        import msgspec

        from tokenworks.serving.engine import Options
        from tokenworks.serving.engines import openvino

        self._engine = openvino.load(folder, msgspec.json.decode(options.encode(), type=Options))
        self._number = 1 << 32

    def run(self, prompts: list[str], tokens: int) -> float:
        """Return tokens/s of answering `prompts` at once."""
        import openvino as ov

        from tokenworks.serving.engine import Sampling
        from tokenworks.serving.engines.openvino import generation_config

        pipeline, tokenizer = self._engine._pipeline, self._engine._tokens
        started, made, handles = time.monotonic(), 0, []
        for prompt in prompts:
            config = generation_config(Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True), 0, [0])
            ids = ov.Tensor(np.array([tokenizer.encode(prompt)], np.int64))
            self._number += 1
            handles.append(pipeline.add_request(self._number, ids, config))
        while pipeline.has_non_finished_requests():
            pipeline.step()
            for handle in handles:
                while handle.can_read():
                    made += sum(len(output.generated_ids) for output in handle.read().values())
        return made / (time.monotonic() - started)


class Host:
    """The engine host in a process of its own."""

    def __init__(self, folder: Path, options: str) -> None:
        command = [sys.executable, "-m", "tokenworks.serving.host", "--engine", "openvino", "--folder", str(folder)]
        self._process = subprocess.Popen(
            [*command, "--name", "m", "--options", options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.url, self.load_s = f"http://127.0.0.1:{ready['port']}", ready["load_s"]

    def rss_mb(self) -> int:
        """Return resident memory in MB."""
        import psutil

        return int(psutil.Process(self._process.pid).memory_info().rss / 1e6)

    def end(self) -> None:
        """Stop the process."""
        self._process.terminate()
        self._process.wait()


class Gateway:
    """`tokenworks serve` over the same folder, with every duty on."""

    def __init__(self, folder: Path, home: Path) -> None:
        command = [sys.executable, "-m", "tokenworks.cli.main", "--home", str(home), "serve", "--port", "0"]
        self._process = subprocess.Popen([*command, "--model", str(folder)], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            said += line
            if "Try it" in line:
                break
        self.url = said.split("answers at ")[1].split()[0]
        self.key = said.split("key ")[1].split()[0]
        self.model = folder.name
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def end(self) -> None:
        """Stop the process."""
        self._process.terminate()
        self._process.wait()


def over_http(url: str, key: str, model: str, prompts: list[str], tokens: int) -> float:
    """Return tokens/s of streaming the answers to `prompts` at once, by the usage that the server reports."""
    return asyncio.run(_over_http(urlsplit(url), key, model, prompts, tokens))


async def _over_http(where: Any, key: str, model: str, prompts: list[str], tokens: int) -> float:
    started = time.monotonic()
    counts = await asyncio.gather(*(_stream(where, key, model, prompt, tokens) for prompt in prompts))
    return sum(counts) / (time.monotonic() - started)


async def _stream(where: Any, key: str, model: str, prompt: str, tokens: int) -> int:
    fields = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    body = json.dumps({**fields, "stream": True, "stream_options": {"include_usage": True}}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {where.netloc}\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(head.encode() + body)
    received = await reader.read()
    writer.close()
    last = received.rsplit(b'"completion_tokens":', 1)
    if len(last) < 2:
        raise SystemExit(f"no usage in the answer: {received[:500]!r}")
    return int(last[1].split(b",", 1)[0])


def make_model(folder: Path) -> Path:
    """Write a random Llama of 16 M parameters: hidden 320, 8 layers, vocabulary 8,192, context 2,048."""
    from pydoc_data.topics import topics

    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder.mkdir(parents=True)
    hidden, inner, layers, vocabulary = 320, 864, 8, 8192
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(list(topics.values()), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    rng, weights = np.random.default_rng(0), {}
    shapes = {"model.embed_tokens": (vocabulary, hidden), "lm_head": (vocabulary, hidden)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{part}_proj": (hidden, hidden) for part in "qkvo"}
        shapes |= {f"{at}mlp.{part}_proj": (inner, hidden) for part in ("gate", "up")}
        shapes[f"{at}mlp.down_proj"] = (hidden, inner)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{at}{norm}.weight"] = np.ones(hidden, np.float32)
    weights["model.norm.weight"] = np.ones(hidden, np.float32)
    weights |= {f"{name}.weight": rng.normal(0, 0.02, size).astype(np.float32) for name, size in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 5, "num_key_value_heads": 5,
        "vocab_size": vocabulary, "rms_norm_eps": 1e-6, "max_position_embeddings": 2048, "rope_theta": 10000.0,
        "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


if __name__ == "__main__":
    main()
