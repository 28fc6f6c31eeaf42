"""Pretraining tokens per second beside the Hugging Face Trainer: same Llama, batch, sequence length and threads.

    python benchmarks/train.py [--rounds 3] [--steps 10] [--width 256 --layers 4]

The Trainer runs with its best sensible settings (fused AdamW, bfloat16 autocast; float32 beside it, the better one
counts). Each measurement is a process of its own, rounds are interleaved. Results: benchmarks/results/train.json, .md.
"""

from __future__ import annotations

import argparse
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

RESULTS = Path(__file__).parent / "results"
WAYS = ("tokenworks", "trainer bf16", "trainer fp32")


def main() -> None:
    """Measure all ways in turn, print the table, and keep it; or be one measurement (`--way`)."""
    asked = _arguments()
    if asked.way:
        print(json.dumps(measure(asked)))
        return
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(asked.rounds):
        for way in WAYS[:: 1 if number % 2 else -1]:
            found[way].append(_in_a_process(way, asked))
            print(f"round {number + 1}: {way:<13} {found[way][-1]:10,.0f} tokens/s", flush=True)
    report = summary(found, asked)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "train.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "train.md").write_text(table(report))
    print(table(report))


def measure(asked: argparse.Namespace) -> float:
    """Return tokens per second: the median of the steps after the second."""
    times = _ours(asked) if asked.way == "tokenworks" else _theirs(asked, bf16=asked.way.endswith("bf16"))
    return asked.batch * asked.context / statistics.median(times[2:])


def _ours(asked: argparse.Namespace) -> list[float]:
    import numpy as np
    import torch

    from tokenworks.line.train.causal import plan
    from tokenworks.line.train.causal.allocator import kept_memory
    from tokenworks.line.train.causal.llama import Llama, Shape, new_weights
    from tokenworks.line.train.causal.optimiser import PARTS, Optimiser
    from tokenworks.line.train.causal.packing import Windows

    shape = Shape(
        vocabulary=asked.vocabulary, width=asked.width, layers=asked.layers, heads=asked.width // 64,
        hidden=asked.width * 11 // 4, context=asked.context, tied=False,
    )  # fmt: skip
    torch.set_num_threads(asked.threads)
    times = []
    with kept_memory():
        dtype = getattr(torch, plan.faster_type())
        model = Llama(shape, dtype)
        optimiser = Optimiser(new_weights(shape, 0), dtype, parts=PARTS, decay=0.0)
        tokens = np.random.default_rng(0).integers(0, asked.vocabulary, 300_000).astype(np.int32)
        windows = Windows(tokens, asked.context, asked.batch, 0)
        for step in range(asked.steps + 2):
            begun = time.perf_counter()
            inputs, targets = (torch.from_numpy(rows) for rows in windows.at(step))
            loss = model.loss(optimiser.working, inputs, targets)
            loss.backward()
            float(loss.detach())
            optimiser.step(matrix_rate=0.02, table_rate=0.01, clip=1.0)
            times.append(time.perf_counter() - begun)
    return times


def _theirs(asked: argparse.Namespace, *, bf16: bool) -> list[float]:
    import torch
    from torch.utils.data import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    class Rows(Dataset):
        def __len__(self) -> int:
            return 4096

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            rng = torch.Generator().manual_seed(index)
            row = torch.randint(asked.vocabulary, (asked.context,), generator=rng)
            return {"input_ids": row, "labels": row}

    class Watch(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

    torch.set_num_threads(asked.threads)
    config = LlamaConfig(
        vocab_size=asked.vocabulary, hidden_size=asked.width, intermediate_size=asked.width * 11 // 4,
        num_hidden_layers=asked.layers, num_attention_heads=asked.width // 64,
        max_position_embeddings=asked.context, tie_word_embeddings=False, use_cache=False,
    )  # fmt: skip
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=asked.batch, max_steps=asked.steps + 3, bf16=bf16, use_cpu=True,
            optim="adamw_torch_fused", learning_rate=1e-3, report_to=[], save_strategy="no", logging_strategy="no",
            dataloader_num_workers=0, disable_tqdm=True,
        )  # fmt: skip
        Trainer(LlamaForCausalLM(config), arguments, train_dataset=Rows(), callbacks=[watch]).train()
    return [end - begin for begin, end in zip(watch.ends, watch.ends[1:], strict=False)]


def _in_a_process(way: str, asked: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--way", way]
    for name in ("steps", "batch", "context", "vocabulary", "width", "layers", "threads"):
        command += [f"--{name}", str(getattr(asked, name))]
    quiet = os.environ | {"OMP_NUM_THREADS": str(asked.threads), "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet)
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def summary(found: dict[str, list[float]], asked: argparse.Namespace) -> dict[str, Any]:
    """Return medians with min and max, and the ratio to the Trainer's better setting, round by round."""
    medians = {way: statistics.median(rates) for way, rates in found.items()}
    best = max(WAYS[1:], key=lambda way: medians[way])
    ratios = [ours / theirs for ours, theirs in zip(found["tokenworks"], found[best], strict=True)]
    shape = {name: getattr(asked, name) for name in ("width", "layers", "vocabulary", "context", "batch", "threads")}
    return {
        "shape": shape,
        "rounds": asked.rounds,
        "steps": asked.steps,
        "tokens_per_s": {
            way: {"median": round(medians[way]), "min": round(min(rates)), "max": round(max(rates))}
            for way, rates in found.items()
        },
        "best_peer": best,
        "ratio": {
            "median": round(statistics.median(ratios), 2),
            "min": round(min(ratios), 2),
            "max": round(max(ratios), 2),
        },
        "machine": machine(),
    }


def table(report: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    shape = report["shape"]
    lines = [
        "# Pretraining, tokens per second",
        "",
        f"Llama of width {shape['width']}, {shape['layers']} layers, vocabulary {shape['vocabulary']:,}; "
        f"{shape['batch']} x {shape['context']} tokens a step, {shape['threads']} threads; whole steps with optimiser. "
        f"Medians (min-max) of {report['rounds']} interleaved rounds of {report['steps']} steps.",
        "",
        "| way | tokens/s |",
        "|---|---|",
    ]
    for way, one in report["tokens_per_s"].items():
        lines.append(f"| {way} | {one['median']:,} ({one['min']:,}-{one['max']:,}) |")
    ratio = report["ratio"]
    lines += ["", f"Ratio to {report['best_peer']}: **{ratio['median']}** ({ratio['min']}-{ratio['max']}).", ""]
    about = report["machine"]
    lines += [
        f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, {about['libraries']}; {about['when']}.",
        "",
    ]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Describe where this was measured."""
    from importlib.metadata import version

    names = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in names if line.startswith("model name")), platform.processor())
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate")),
        "load_before": round(os.getloadavg()[0], 2),
        "when": time.strftime("%Y-%m-%d"),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--way", choices=WAYS)
    defaults = {
        "rounds": 3,
        "steps": 10,
        "batch": 16,
        "context": 256,
        "vocabulary": 4096,
        "width": 256,
        "layers": 6,
        "threads": 2,
    }
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


if __name__ == "__main__":
    main()
