"""What is special to OpenVINO: precision, the steps on the event loop, and what happens when a step fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tokenworks.core.errors import EngineError
from tokenworks.serving.engine import EngineDied, Options, Piece, Sampling
from tokenworks.serving.engines.openvino import OpenVinoEngine, choose_precision, generation_config, load

pytest.importorskip("openvino_genai")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def engine(tiny_llama: Path, cache: str) -> OpenVinoEngine:
    return load(tiny_llama, Options(precision="f32", cache=cache))


async def collect(engine: OpenVinoEngine, prompt: str = "the for statement", **changes: object) -> list[Piece]:
    sampling = Sampling(**{"max_tokens": 50, "temperature": 0.0, "ignore_eos": True, **changes})  # type: ignore[arg-type]
    return [piece async for piece in engine.generate(prompt, sampling)]


def test_auto_takes_what_the_chip_multiplies() -> None:
    assert choose_precision("auto") in {"bf16", "f32"}
    with pytest.raises(EngineError, match="fp4"):
        choose_precision("fp4")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
async def test_smaller_weights_answer_too(precision: str, tiny_llama: Path) -> None:
    engine = load(tiny_llama, Options(precision=precision))
    assert sum(piece.tokens for piece in await collect(engine)) == 50


async def test_tokens_are_handed_out_in_batches_and_the_first_at_once(engine: OpenVinoEngine) -> None:
    pieces = await collect(engine, max_tokens=200)
    assert pieces[0].tokens == 1
    assert len(pieces) < 150


async def test_the_event_loop_runs_between_steps(engine: OpenVinoEngine) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    await collect(engine, max_tokens=100)
    counting.cancel()
    assert turns >= 100


async def test_a_step_that_fails_is_heard_by_everybody_and_later_callers(engine: OpenVinoEngine) -> None:
    class Broken:
        def __init__(self, pipeline: object) -> None:
            self._pipeline = pipeline

        def add_request(self, *arguments: object) -> object:
            return self._pipeline.add_request(*arguments)  # type: ignore[attr-defined]

        def has_non_finished_requests(self) -> bool:
            return True

        def step(self) -> None:
            raise RuntimeError("out of luck")

    engine._pipeline = Broken(engine._pipeline)
    results = await asyncio.gather(collect(engine), collect(engine), return_exceptions=True)
    assert all(isinstance(result, EngineDied) and "out of luck" in str(result) for result in results)
    with pytest.raises(EngineDied):
        await collect(engine)


async def test_after_close_nothing_is_answered(engine: OpenVinoEngine) -> None:
    await engine.close()
    with pytest.raises(EngineDied):
        await collect(engine)


def test_each_choice_has_its_own_seed_within_the_librarys_range() -> None:
    sampling = Sampling(seed=-1, n=2)
    seeds = [generation_config(sampling, index, (0,)).rng_seed for index in range(2)]
    assert seeds == [(1 << 32) - 1, 0]


class Steps:
    """The library's pipeline, with its steps counted: 256 tokens of prompts are read in one."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self.count = 0

    def step(self) -> None:
        self.count += 1
        self._pipeline.step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)


LONG = "the for statement is used to iterate over the elements of a sequence " * 60


@pytest.fixture
def counted(make_llama: Callable[..., Path], cache: str) -> tuple[OpenVinoEngine, Callable[..., Awaitable[int]]]:
    """An engine of a longer context, and how many steps it takes until the first token of an answer to `LONG`."""
    engine = load(make_llama(max_position_embeddings=2048), Options(precision="f32", cache=cache))
    steps = engine._pipeline = Steps(engine._pipeline)  # the library tells nobody what it found again

    async def read(**changes: Any) -> int:
        before = steps.count
        await collect(engine, prompt=LONG, max_tokens=1, **changes)
        return steps.count - before

    return engine, read


async def test_a_prefix_is_found_again_under_its_own_salt_alone(counted: Any) -> None:
    engine, read = counted
    whole = await read(cache_salt="tenant a")
    assert whole >= engine.count_tokens(LONG) // 256 > 1
    assert await read(cache_salt="tenant a") < whole
    assert await read(cache_salt="tenant b") == whole
    assert await read() == whole
    assert await read() < whole
    assert await read(cache_salt="tenant b") < whole


async def test_a_salt_changes_no_answer(engine: OpenVinoEngine) -> None:
    drawn: list[dict[str, Any]] = [{}, {"temperature": 1.0, "seed": 5}, {"repetition_penalty": 1.3}]
    drawn += [{"presence_penalty": 1.0}, {"temperature": 1.0, "seed": 5, "repetition_penalty": 1.2}, {"n": 2}]
    for changes in drawn:
        bare, salted = [await collect(engine, **changes, cache_salt=salt) for salt in ("", "tenant a")]
        texts = [
            ["".join(one.text for one in said if one.index == choice) for choice in (0, 1)] for said in (bare, salted)
        ]
        assert texts[0] == texts[1]
        assert sum(one.tokens for one in salted) == 50 * changes.get("n", 1)


async def test_under_a_repetition_penalty_no_prefix_is_found_again(counted: Any) -> None:
    engine, read = counted
    await read(repetition_penalty=1.2)  # without a salt: into the common cache
    steps = engine._uncached = Steps(engine._without_prefixes())
    for _ in range(2):
        before = steps.count
        await read(repetition_penalty=1.2, cache_salt="tenant b")
        assert steps.count - before >= engine.count_tokens(LONG) // 256


async def test_a_schema_is_proven_for_each_salt(engine: OpenVinoEngine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    proven = [engine._grammars.compile(schema, 0, salt) for salt in ("tenant a", "tenant a", "tenant b")]
    assert proven[0] is proven[1] is not proven[2]
