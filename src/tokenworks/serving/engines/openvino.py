"""Generation on the CPU by OpenVINO GenAI's continuous batching, from a graph built straight from the safetensors.

The library's `step()` holds the interpreter's lock (measured, decision 0060), so a thread of its own would only add
hand-overs: steps run on the event loop, one between two looks at the network, and text is handed out in batches.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tokenworks.core.errors import EngineError, MissingExtraError
from tokenworks.metering.attribution.account import Work
from tokenworks.serving.conversion.cache import PROBE, converted
from tokenworks.serving.conversion.salt import salted
from tokenworks.serving.conversion.shape import read_shape, reason_against
from tokenworks.serving.engine import EngineDied, Options, Piece, Sampling, Text, TokenLogprob, Vectors
from tokenworks.serving.folder import WEIGHTS, ModelFolder, open_folder, read_json
from tokenworks.serving.grammar import Grammars
from tokenworks.serving.steps import Steps
from tokenworks.serving.template import ChatTemplate
from tokenworks.serving.tokens import StopFilter, Tokens

INTERVAL_S = 0.04  # at most about 25 pieces a second and stream: more cost the batch its speed, and no eye sees them
CROWD = 6  # with more streams than this, pieces are fewer in turn: what each costs comes out of everybody's tokens
KV_BYTES = (256 << 20, 4 << 30)  # keys and values may take as much as the weights, within these bounds
STEP_TOKENS = 256
BLOCK_TOKENS = 32  # of OpenVINO's paged attention on CPUs
PRECISIONS = {"f32": "f32", "bf16": "bf16", "int8": "bf16"}  # weights -> arithmetic, where the chip has it


def serves(folder: Path) -> bool:
    """Return whether `folder` is a model of the Llama family with safetensors."""
    if not any((folder / name).exists() for name in WEIGHTS) or not (folder / "config.json").exists():
        return False
    return not reason_against(read_json(folder / "config.json"))


def load(folder: Path, options: Options) -> OpenVinoEngine:
    """Convert `folder` unless `options.cache` has it, and compile it. Raises `EngineError`."""
    try:
        import openvino  # noqa: F401 - heavy, and optional: only this engine's process loads it
        import openvino_genai  # noqa: F401
    except ImportError:
        raise MissingExtraError("generation on the CPU", "generate") from None

    model = open_folder(folder)
    tokens = Tokens(folder)
    precision = choose_precision(options.precision)

    def uncached() -> Any:
        with converted(model, tokens, precision, options.cache) as graph:
            return _pipeline(graph, model, options, precision, prefixes=False)

    with converted(model, tokens, precision, options.cache) as graph:
        pipeline = _pipeline(graph, model, options, precision)
        grammars = Grammars(graph / PROBE)
    return OpenVinoEngine(model, tokens, pipeline, grammars, exact=precision == "f32", uncached=uncached)


def choose_precision(wanted: str) -> str:
    """Return the precision of the weights: 'auto' is bf16 where the chip multiplies it, else f32."""
    import openvino as ov  # knows the chip

    if wanted == "auto":
        able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "bf16" if "BF16" in able else "f32"
    if wanted not in PRECISIONS:
        raise EngineError(f"precision {wanted!r} does not exist; there are: auto, {', '.join(PRECISIONS)}")
    return wanted


def _pipeline(graph: Path, model: ModelFolder, options: Options, precision: str, *, prefixes: bool = True) -> Any:
    import openvino as ov
    import openvino_genai as genai

    able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    arithmetic = PRECISIONS[precision] if "BF16" in able else "f32"
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = options.max_batch
    scheduler.max_num_batched_tokens = STEP_TOKENS  # bounds one step, and with it how long a new request waits
    scheduler.num_kv_blocks = _kv_blocks(model, options.max_batch, 4 if arithmetic == "f32" else 2)
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


def _kv_blocks(model: ModelFolder, max_batch: int, value_bytes: int) -> int:
    """Return blocks for every sequence at full length, within the bounds, but always for two of them.

    OpenVINO takes the memory at once. A batch that outgrows it is not refused: its youngest answers wait.
    """
    shape = read_shape(model.config)
    each = 2 * shape.layers * shape.kv_heads * shape.head_size * BLOCK_TOKENS * value_bytes
    weights = sum(file.stat().st_size for file in model.path.glob("*.safetensors"))
    budget = min(max(weights, KV_BYTES[0]), KV_BYTES[1])
    full = -(-model.context_length // BLOCK_TOKENS) + 1
    return int(max(2 * full, min(max_batch * full, budget // each)))


class OpenVinoEngine:
    """A loaded decoder and the loop that steps it."""

    does: frozenset[str]
    supports = frozenset({"logprobs", "seed", "penalties", "json_schema", "ignore_eos", "n", "stop", "top_k", "resume"})

    def __init__(
        self,
        model: ModelFolder,
        tokens: Tokens,
        pipeline: Any,
        grammars: Grammars,
        *,
        exact: bool = False,
        uncached: Callable[[], Any],
    ) -> None:
        self.does = frozenset({"completions", "chat.completions"} if model.chat_template else {"completions"})
        self.context_length = model.context_length
        self.classes: list[str] = []
        self._model, self._tokens, self._pipeline, self._grammars = model, tokens, pipeline, grammars
        self._template = ChatTemplate(model.chat_template, model.tokenizer_config) if model.chat_template else None
        self._vocabulary = read_shape(model.config).vocabulary
        self._make_uncached, self._uncached = uncached, None  # a pipeline
        self._numbers = itertools.count()
        self._running: list[_Answer] = []
        self._stepping = False
        self._steps = Steps(STEP_TOKENS)
        self._failure: EngineDied | None = None
        self._exact = exact  # whether a token is the same whether those before it were read at once or one by one

    @property
    def running(self) -> int:
        """Return how many answers are being made."""
        return len(self._running)

    def chat_prompt(self, messages: Sequence[dict[str, Any]]) -> str:
        """Return the prompt that the model's own chat template makes of `messages`."""
        if self._template is None:
            raise EngineError(f"{self._model.path} has no chat template; ask /v1/completions, or serve a chat model")
        return self._template.render(messages)

    def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` has."""
        return len(self._tokens.encode(text))

    async def generate(self, prompt: str, sampling: Sampling) -> AsyncIterator[Piece]:
        """Yield the answer as it is made; closing the iterator cancels the work."""
        if self._failure is not None:
            raise self._failure
        arrived: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        ids = self._tokens.encode(prompt)
        answers = [self._start(ids, sampling, index, arrived) for index in range(sampling.n)]
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
                self._drop(answer)

    async def embed(self, texts: Sequence[Text], *, work: Work | None = None) -> Vectors:
        """Refuse: a decoder has no sentence vectors."""
        raise EngineError("this model generates text; ask an encoder for embeddings")

    async def classify(self, texts: Sequence[str], *, work: Work | None = None) -> Vectors:
        """Refuse: a decoder has no classes."""
        raise EngineError("this model generates text; ask a classifier for classes")

    async def close(self) -> None:
        """Let go of everything."""
        for answer in list(self._running):
            self._drop(answer)
        while self._stepping:
            await asyncio.sleep(0)
        self._failure = EngineDied("the engine is closed")
        self._pipeline = self._uncached = None

    def _start(self, ids: list[int], sampling: Sampling, index: int, arrived: asyncio.Queue[Any]) -> _Answer:
        import openvino as ov  # loaded by `load` already

        config = generation_config(sampling, index, self._model.stop_ids)
        if sampling.json_schema is not None:
            stop_id = self._model.stop_ids[0] if self._model.stop_ids else -1
            config.structured_output_config = self._grammars.compile(sampling.json_schema, stop_id, sampling.cache_salt)
        seen = [token for group in sampling.seen for token in group]
        again = tuple(seen)
        if seen and self._exact and likeliest(sampling):
            config.max_new_tokens -= len(seen)
            ids, again = ids + seen, ()
        pipeline, salt = self._pipeline, sampling.cache_salt
        if salt and sampling.repetition_penalty != 1.0:
            pipeline, salt = self._without_prefixes(), ""
        prompt = ov.Tensor(np.array([salted(ids, salt, self._vocabulary)], np.int64))
        try:
            handle = pipeline.add_request(next(self._numbers), prompt, config)
        except RuntimeError as error:
            raise ValueError(str(error).strip().splitlines()[-1]) from error
        answer = _Answer(handle, self._tokens, sampling, index, arrived, again)
        self._steps.add(answer, sampling.work, len(ids), handle.can_read)
        self._running.append(answer)
        if not self._stepping:
            self._stepping = True
            asyncio.get_running_loop().call_soon(self._step)
        return answer

    def _without_prefixes(self) -> Any:
        """Return a pipeline that finds no prefix again, made where it is first needed: it takes its own memory.

        Under a repetition penalty the library looks the prompt's ids up among the logits: they can carry no salt.
        """
        if self._uncached is None:
            self._uncached = self._make_uncached()
        return self._uncached

    def _drop(self, answer: _Answer) -> None:
        if answer in self._running:
            self._running.remove(answer)
            self._steps.drop(answer)
            answer.handle.cancel()  # freed in the next step

    def _step(self) -> None:
        """Make one token for every running answer, hand out what is due, and come back after the network was seen."""
        try:
            working = [one for one in (self._pipeline, self._uncached) if one is not None]
            self._steps.run(partial(_step_all, working))
            now = time.monotonic()
            pause_s = INTERVAL_S * max(1.0, len(self._running) / CROWD)
            complete = {answer for answer in self._running if answer.advance(now, pause_s)}
            for answer in complete:
                self._running.remove(answer)
                self._steps.drop(answer)
            more = any(pipeline.has_non_finished_requests() for pipeline in working)
        except Exception as error:  # noqa: BLE001 - the border to the library: whatever it was, every waiting caller hears
            self._die(error)
            return
        if more:
            asyncio.get_running_loop().call_soon(self._step)
        else:
            self._stepping = False

    def _die(self, error: Exception) -> None:
        self._failure = EngineDied(f"OpenVINO stopped in the middle of a step ({str(error).strip().splitlines()[-1]})")
        self._stepping = False
        for answer in self._running:
            answer.arrived.put_nowait(self._failure)
        self._running = []


class _Answer:
    """One choice on its way from token ids to text."""

    def __init__(
        self,
        handle: Any,
        tokens: Tokens,
        sampling: Sampling,
        index: int,
        arrived: asyncio.Queue[Any],
        again: tuple[int, ...],
    ) -> None:
        import openvino_genai as genai  # loaded by `load` already

        self.handle, self.arrived = handle, arrived
        self._tokens, self._index = tokens, index
        self._stream, self._stop = tokens.stream(), StopFilter(sampling.stop)
        self._again = again  # tokens that another engine told already, and that are made again
        for group in sampling.seen:
            self._stop.feed(self._stream.feed(group))
        self._logprobs = sampling.logprobs is not None
        self._eager = bool(sampling.stop)  # a stop string must end the work at once
        self._due_s = float("inf") if sampling.unwatched else 0.0
        self._status, self._reason = genai.GenerationStatus, genai.GenerationFinishReason

    def advance(self, now: float, pause_s: float) -> bool:
        """Hand out what is due at `now`, monotonic seconds; return whether the answer is complete.

        The next piece is due after `pause_s`, unless the answer ends before.
        """
        status = self.handle.get_status()
        running = status == self._status.RUNNING
        if running and not self._eager and now < self._due_s:
            return False
        if status == self._status.IGNORED:
            self.arrived.put_nowait(EngineError("no room for this answer's keys and values; ask for fewer tokens"))
            return True
        ids: list[int] = []
        scores: list[float] = []
        reason = None
        while self.handle.can_read():
            for output in self.handle.read().values():
                ids += output.generated_ids
                scores += output.generated_log_probs
                if output.finish_reason != self._reason.NONE:
                    reason = "length" if output.finish_reason == self._reason.LENGTH else "stop"
        if self._again:
            made, count = tuple(ids), min(len(ids), len(self._again))
            if made[:count] != self._again[:count] or (not running and count < len(self._again)):
                self.arrived.put_nowait(
                    EngineError("this engine makes other tokens than the one that began the answer")
                )
                self.handle.cancel()
                return True
            ids, scores, self._again = ids[count:], scores[count:], self._again[count:]
        if not ids and running:
            return False
        text = self._stop.feed(self._stream.feed(ids))
        if self._stop.stopped:
            reason = "stop"
            self.handle.cancel()
        elif not running:
            reason = reason or "stop"
            text += self._stop.feed(self._stream.finish()) + self._stop.finish()
        self._due_s = max(self._due_s, now + pause_s)
        chosen = tuple(TokenLogprob(token=self._tokens.text_of(i), logprob=s) for i, s in zip(ids, scores, strict=True))
        self.arrived.put_nowait(
            Piece(
                index=self._index,
                text=text,
                tokens=len(ids),
                ids=tuple(ids),
                finish_reason=reason,
                stop=self._stop.found,
                logprobs=chosen if self._logprobs else (),
            )
        )
        return reason is not None


def _step_all(pipelines: Sequence[Any]) -> None:
    """Make one step of every pipeline that has something to do."""
    for pipeline in pipelines:
        if pipeline.has_non_finished_requests():
            pipeline.step()


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
