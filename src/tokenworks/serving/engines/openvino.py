"""Generation on the CPU by OpenVINO GenAI's continuous batching, from a graph built straight from the safetensors.

The library's `step()` holds the interpreter's lock (measured, decision 0060), so a thread of its own would only add
hand-overs: steps run on the event loop, one between two looks at the network, and text is handed out in batches.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tokenworks.core.errors import MissingExtraError
from tokenworks.serving.conversion.cache import PROBE, converted
from tokenworks.serving.conversion.salt import salted
from tokenworks.serving.conversion.shape import read_shape, reason_against
from tokenworks.serving.decoder import Decoder
from tokenworks.serving.engine import EngineDied, Options, Piece, Sampling
from tokenworks.serving.engines._openvino_answer import Answer
from tokenworks.serving.engines._openvino_library import (
    STEP_TOKENS,
    choose_precision,
    generation_config,
    likeliest,
    new_pipeline,
)
from tokenworks.serving.folder import WEIGHTS, ModelFolder, open_folder, read_json
from tokenworks.serving.grammar import Grammars
from tokenworks.serving.steps import Steps
from tokenworks.serving.tokens import Tokens

INTERVAL_S = 0.04  # at most about 25 pieces a second and stream: more cost the batch its speed, and no eye sees them
TURNS = 1  # of the loop, between two steps: what came during one joins the next, and what it made leaves before that
CROWD = 6  # with more streams than this, pieces are fewer in turn: what each costs comes out of everybody's tokens


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
            return new_pipeline(graph, model, options, precision, prefixes=False)

    with converted(model, tokens, precision, options.cache) as graph:
        pipeline = new_pipeline(graph, model, options, precision)
        grammars = Grammars(graph / PROBE)
    return OpenVinoEngine(model, tokens, pipeline, grammars, exact=precision == "f32", uncached=uncached)


class OpenVinoEngine(Decoder):
    """A loaded decoder and the loop that steps it."""

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
        super().__init__(model, tokens)
        self._pipeline, self._grammars = pipeline, grammars
        self._vocabulary = read_shape(model.config).vocabulary
        self._make_uncached, self._uncached = uncached, None  # a pipeline
        self._numbers = itertools.count()
        self._running: list[Answer] = []
        self._stepping = False
        self._steps = Steps(STEP_TOKENS)
        self._failure: EngineDied | None = None
        self._exact = exact  # whether a token is the same whether those before it were read at once or one by one

    @property
    def running(self) -> int:
        """Return how many answers are being made."""
        return len(self._running)

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

    async def close(self) -> None:
        """Let go of everything."""
        for answer in list(self._running):
            self._drop(answer)
        while self._stepping:
            await asyncio.sleep(0)
        self._failure = EngineDied("the engine is closed")
        self._pipeline = self._uncached = None

    def _start(self, ids: list[int], sampling: Sampling, index: int, arrived: asyncio.Queue[Any]) -> Answer:
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
        answer = Answer(handle, self._tokens, sampling, index, arrived, again)
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

    def _drop(self, answer: Answer) -> None:
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
            self._come_back(TURNS)
        else:
            self._stepping = False

    def _come_back(self, turns: int) -> None:
        """Make the next step after so many turns of the loop and the one that begins now."""
        loop = asyncio.get_running_loop()
        if turns:
            loop.call_soon(self._come_back, turns - 1)
        else:
            loop.call_soon(self._step)

    def _die(self, error: Exception) -> None:
        self._failure = EngineDied(f"OpenVINO stopped in the middle of a step ({str(error).strip().splitlines()[-1]})")
        self._stepping = False
        for answer in self._running:
            answer.arrived.put_nowait(self._failure)
        self._running = []


def _step_all(pipelines: Sequence[Any]) -> None:
    """Make one step of every pipeline that has something to do."""
    for pipeline in pipelines:
        if pipeline.has_non_finished_requests():
            pipeline.step()
