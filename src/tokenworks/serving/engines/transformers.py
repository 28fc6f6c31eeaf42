"""Generation by transformers and torch: the reference that other engines are checked against, and the fall-back.

One thread steps every running answer by one token in turn, so streams, cancellation and fairness are as elsewhere.
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tokenworks.core.errors import EngineError, MissingExtraError
from tokenworks.metering.attribution.account import Work
from tokenworks.metering.attribution.timeline import Timeline
from tokenworks.serving.decoder import Decoder
from tokenworks.serving.engine import EngineDied, Options, Piece, Sampling, TokenLogprob
from tokenworks.serving.folder import WEIGHTS, ModelFolder, open_folder, read_json
from tokenworks.serving.sampler import choose, log_softmax, penalised, position_rng
from tokenworks.serving.tokens import StopFilter, Tokens


def serves(folder: Path) -> bool:
    """Return whether `folder` is a causal language model with safetensors."""
    if not any((folder / name).exists() for name in WEIGHTS) or not (folder / "config.json").exists():
        return False
    names = read_json(folder / "config.json").get("architectures") or []
    return any(str(name).endswith("ForCausalLM") for name in names)


def load(folder: Path, options: Options) -> TransformersEngine:
    """Load `folder` with torch. Raises `EngineError`."""
    try:
        import torch  # heavy, and optional: only this engine's process loads it
        from transformers import AutoModelForCausalLM
    except ImportError:
        raise MissingExtraError("the engine 'transformers'", "train") from None
    dtypes = {"auto": torch.float32, "f32": torch.float32, "bf16": torch.bfloat16}
    if options.precision not in dtypes:
        raise EngineError(
            f"precision {options.precision!r} is not one of the engine 'transformers': {', '.join(dtypes)}"
        )
    model = open_folder(folder)
    torch.set_num_threads(options.threads)
    try:
        network = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtypes[options.precision],
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise EngineError(
            f"{folder} cannot be loaded by transformers ({first}); check config.json and weights"
        ) from error
    return TransformersEngine(model, Tokens(folder), network.eval(), options.max_batch)


class TransformersEngine(Decoder):
    """A loaded model and the thread that steps it."""

    supports = frozenset(
        {"logprobs", "top_logprobs", "seed", "penalties", "ignore_eos", "n", "stop", "top_k", "resume"}
    )  # fmt: skip

    def __init__(self, model: ModelFolder, tokens: Tokens, network: Any, max_batch: int) -> None:
        super().__init__(model, tokens)
        self._worker = _Worker(network, max_batch)

    @property
    def running(self) -> int:
        """Return how many answers are being made."""
        return self._worker.running

    async def generate(self, prompt: str, sampling: Sampling) -> AsyncIterator[Piece]:
        """Yield the answer as it is made; closing the iterator cancels the work."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Piece | Exception] = asyncio.Queue()

        def deliver(item: Piece | Exception) -> None:
            loop.call_soon_threadsafe(arrived.put_nowait, item)

        ids = self._tokens.encode(prompt)
        answers = [
            _Answer(ids, sampling, index, self._tokens, self._model.stop_ids, deliver) for index in range(sampling.n)
        ]
        self._worker.add(answers)
        left = len(answers)
        try:
            while left:
                piece = await arrived.get()
                if isinstance(piece, Exception):
                    raise piece
                left -= piece.finish_reason is not None
                yield piece
        finally:
            for answer in answers:
                answer.cancelled = True

    async def close(self) -> None:
        """Let go of everything."""
        await asyncio.to_thread(self._worker.close)


class _Answer:
    """One choice: its tokens so far, its keys and values, its place in the text."""

    def __init__(
        self,
        prompt: list[int],
        sampling: Sampling,
        index: int,
        tokens: Tokens,
        stop_ids: Sequence[int],
        deliver: Any,
    ) -> None:
        seen = [token for group in sampling.seen for token in group]
        self.prompt, self.next_ids = prompt, prompt + seen
        self.past: Any = None
        self.deliver = deliver
        self.cancelled = False
        self.work = sampling.work
        self._sampling, self._index, self._tokens = sampling, index, tokens
        self._stop_ids = frozenset() if sampling.ignore_eos else frozenset(stop_ids)
        self._made: Counter[int] = Counter(seen)
        self._count = len(seen)
        self._stream, self._stop = tokens.stream(), StopFilter(sampling.stop)
        self._seed = random.getrandbits(64) if sampling.seed is None else sampling.seed
        for group in sampling.seen:
            self._stop.feed(self._stream.feed(group))

    def take(self, logits: np.ndarray[Any, np.dtype[np.float64]]) -> Piece | EngineError:
        """Choose a token; return its text, or why there is none."""
        if np.isnan(logits).any():
            return EngineError("the model's next token is not a number (NaN); its weights or its input overflow")
        rng = position_rng(self._seed, self._index, self._count)
        token = choose(penalised(logits, self._sampling, self.prompt, self._made), self._sampling, rng)
        self._made[token] += 1
        self._count += 1
        self.next_ids = [token]
        text = self._stop.feed(self._stream.feed([token]))
        reason = "stop" if self._stop.stopped or token in self._stop_ids else None
        if reason is None and self._count >= self._sampling.max_tokens:
            reason = "length"
        if reason is not None and not self._stop.stopped:
            text += self._stop.feed(self._stream.finish()) + self._stop.finish()
        logprobs = self._logprobs(logits, token)
        stop = self._stop.found
        return Piece(
            index=self._index,
            text=text,
            tokens=1,
            ids=(token,),
            finish_reason=reason,
            stop=stop,
            logprobs=logprobs,
        )

    def _logprobs(self, logits: np.ndarray[Any, np.dtype[np.float64]], token: int) -> tuple[TokenLogprob, ...]:
        """Return the model's own log probabilities, before penalties and temperature."""
        if self._sampling.logprobs is None:
            return ()
        values = log_softmax(logits)
        best = np.argsort(-values, kind="stable")[: self._sampling.logprobs]
        top = {self._tokens.text_of(int(place)): float(values[place]) for place in best}
        return (TokenLogprob(token=self._tokens.text_of(token), logprob=float(values[token]), top=top),)


class _Worker:
    """The thread that owns the network."""

    def __init__(self, network: Any, max_batch: int) -> None:
        self._network, self._max_batch = network, max_batch
        self._waiting: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        self._active: list[_Answer] = []
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="transformers", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Return how many answers hold keys and values."""
        return len(self._active)

    def add(self, answers: Sequence[_Answer]) -> None:
        """Put answers in line."""
        for answer in answers:
            if self._failure is not None:
                answer.deliver(self._failure)
            self._waiting.put(answer)

    def close(self) -> None:
        """End the thread after the step it is in."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._admit():
                self._active = [answer for answer in self._active if not answer.cancelled and not self._advance(answer)]
        except Exception as error:  # noqa: BLE001 - the border to the library: every waiting caller hears of it
            self._failure = EngineDied(f"transformers stopped in the middle of a step ({error})")
            for answer in self._active:
                answer.deliver(self._failure)

    def _admit(self) -> bool:
        """Take in new answers, waiting for one where there is nothing to do; return False at the end."""
        while len(self._active) < self._max_batch:
            try:
                answer = self._waiting.get(block=not self._active)
            except queue.Empty:
                return True
            if answer is None:
                return False
            if not answer.cancelled:
                self._active.append(answer)
        return True

    def _advance(self, answer: _Answer) -> bool:
        """Deliver one more token; return whether the answer is complete, or cannot be."""
        piece = self._step(answer) if answer.work is None else self._metered(answer, answer.work)
        answer.deliver(piece)
        return isinstance(piece, EngineError) or piece.finish_reason is not None

    def _metered(self, answer: _Answer, work: Work) -> Piece | EngineError:
        """Step one answer by itself: all that the step takes is its own, and known before its token is."""
        reading = answer.past is None
        began_s = work.account.enter()
        try:
            return self._step(answer)
        finally:
            work.account.leave(began_s, lambda seconds: [(work, seconds)])
            if work.timeline is not None:
                self._trace(work.timeline, began_s, reading=reading)

    def _trace(self, timeline: Timeline, began_s: float, *, reading: bool) -> None:
        """Tell of a step that has ended; those who take turns with it count as its batch."""
        now_s = time.monotonic()
        timeline.written(now_s)
        if reading:
            timeline.taken(began_s)
            timeline.read(now_s)
        (timeline.prefill if reading else timeline.decode).add(1, len(self._active))

    def _step(self, answer: _Answer) -> Piece | EngineError:
        import torch  # loaded by `load` already

        with torch.inference_mode():
            ids = torch.tensor([answer.next_ids])
            out = self._network(input_ids=ids, past_key_values=answer.past, use_cache=True, logits_to_keep=1)
            answer.past = out.past_key_values
            return answer.take(out.logits[0, -1].double().numpy())
