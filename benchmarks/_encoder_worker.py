"""One side of `encoder.py`: `ours` or `peer`, driven line by line through standard input.

A line is JSON {"work": embed|classify, "streams": 1|16, "texts": [...]}; the answer is {"seconds": ..., "check": ...}.
Ours gets `streams` concurrent requests of one text each, as callers send them, and batches by itself. The peer has no
server: it is given the texts of `streams` callers as one ready batch, the best that a server around it could do.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

THREADS = 2
Work = Callable[[str, int, list[str]], list[list[float]]]


def ours(folder: Path) -> Work:
    """Return the work done by the encoder engine, in process."""
    from tokenworks.serving.engine import Options
    from tokenworks.serving.engines import encoder

    engine = encoder.load(folder, Options(threads=THREADS))
    loop = asyncio.new_event_loop()
    atexit.register(lambda: loop.run_until_complete(engine.close()))

    async def stream(work: str, queue: list[tuple[int, str]], out: dict[int, list[float]]) -> None:
        while queue:
            at, text = queue.pop()
            call = engine.embed if work == "embed" else engine.classify
            out[at] = (await call([text])).values[0]

    async def everything(work: str, streams: int, texts: list[str]) -> list[list[float]]:
        queue, out = list(enumerate(texts))[::-1], dict[int, list[float]]()
        await asyncio.gather(*(stream(work, queue, out) for _ in range(streams)))
        return [out[at] for at in range(len(texts))]

    return lambda work, streams, texts: loop.run_until_complete(everything(work, streams, texts))


def peer(folder: Path) -> Work:
    """Return the work done by sentence-transformers, the same head on top for classes."""
    import torch
    from safetensors.numpy import load_file
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    model = SentenceTransformer(str(folder), device="cpu")
    head = load_file(folder / "head.safetensors")

    def run(work: str, streams: int, texts: list[str]) -> list[list[float]]:
        rows = []
        for start in range(0, len(texts), streams):
            found = model.encode(texts[start : start + streams], batch_size=streams, show_progress_bar=False)
            if work == "classify":
                powers = np.exp(found @ head["weight"].T + head["bias"])
                found = powers / powers.sum(1, keepdims=True)
            rows += found.tolist()
        return rows

    return run


def main() -> None:
    """Load, say so, then do as told until the input ends."""
    began = time.perf_counter()
    run = {"ours": ours, "peer": peer}[sys.argv[1]](Path(sys.argv[2]))
    run("embed", 1, ["warm"])
    print(json.dumps({"load_s": time.perf_counter() - began}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        began = time.perf_counter()
        rows = run(order["work"], order["streams"], order["texts"])
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "check": [row[:8] for row in rows[:4]]}), flush=True)


if __name__ == "__main__":
    main()
