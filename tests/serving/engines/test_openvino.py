"""What is special to OpenVINO: precision, the steps on the event loop, and what happens when a step fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

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


async def collect(engine: OpenVinoEngine, **changes: object) -> list[Piece]:
    sampling = Sampling(**{"max_tokens": 50, "temperature": 0.0, "ignore_eos": True, **changes})  # type: ignore[arg-type]
    return [piece async for piece in engine.generate("the for statement", sampling)]


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
