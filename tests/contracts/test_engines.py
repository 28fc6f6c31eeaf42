"""What every engine keeps, run over every engine found: the shape of its module, its answers, its manners."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from tokenworks import parts
from tokenworks.core.errors import ConfigError, TokenworksError
from tokenworks.metering.attribution.account import Account
from tokenworks.metering.attribution.timeline import Timeline
from tokenworks.serving.engine import Engine, Options, Piece, Sampling

ROOM = "tokenworks.serving.engines"
NEEDS = {"openvino": "openvino_genai", "transformers": "torch"}
ENDPOINTS = {"completions", "chat.completions", "embeddings", "classify"}
LOCAL = [name for name in parts.names(ROOM) if name != "remote"]
PROMPT = "The for statement is used to iterate over the elements of a sequence"


def skip_where_not_installed(name: str) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"engine {name} needs {NEEDS[name]}")


@pytest.fixture(scope="module", params=LOCAL)
def name(request: pytest.FixtureRequest) -> str:
    skip_where_not_installed(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def loaded(name: str, tiny_llama: Path, tiny_bert: Path) -> Engine:
    module = parts.load(ROOM, name)
    folder = next(folder for folder in (tiny_llama, tiny_bert) if module.serves(folder))
    engine: Engine = module.load(folder, Options(precision="f32"))
    return engine


@pytest.fixture
def generator(loaded: Engine) -> Engine:
    if "completions" not in loaded.does:
        pytest.skip("does not generate")
    return loaded


async def answer(engine: Engine, prompt: str, sampling: Sampling) -> list[Piece]:
    return [piece async for piece in engine.generate(prompt, sampling)]


def text(pieces: list[Piece], index: int = 0) -> str:
    return "".join(piece.text for piece in pieces if piece.index == index)


def greedy(max_tokens: int = 24, **changes: object) -> Sampling:
    return Sampling(max_tokens=max_tokens, temperature=0.0, **changes)  # type: ignore[arg-type]


def test_a_module_tells_cheaply_what_it_serves(name: str, tmp_path: Path) -> None:
    assert parts.load(ROOM, name).serves(tmp_path) is False


def test_an_empty_folder_is_refused_with_an_error_of_ours(name: str, tmp_path: Path) -> None:
    with pytest.raises(TokenworksError, match=str(tmp_path)):
        parts.load(ROOM, name).load(tmp_path, Options())


def test_an_unknown_precision_is_refused_by_name(name: str, tiny_llama: Path, tiny_bert: Path) -> None:
    module = parts.load(ROOM, name)
    folder = next(folder for folder in (tiny_llama, tiny_bert) if module.serves(folder))
    with pytest.raises(TokenworksError, match="float3"):
        module.load(folder, Options(precision="float3"))


def test_it_says_what_it_does(loaded: Engine) -> None:
    assert loaded.does
    assert loaded.does <= ENDPOINTS
    assert loaded.context_length > 0
    assert loaded.count_tokens("the card") > 0


@pytest.mark.asyncio(loop_scope="module")  # an encoder batches on the loop it was first asked on
async def test_what_it_does_not_do_raises_an_error_of_ours(loaded: Engine) -> None:
    if "embeddings" not in loaded.does:
        with pytest.raises(TokenworksError):
            await loaded.embed(["x"])
    if "classify" not in loaded.does:
        with pytest.raises(TokenworksError):
            await loaded.classify(["x"])
    if "completions" not in loaded.does:
        with pytest.raises(TokenworksError):
            await answer(loaded, "x", Sampling())
    if "chat.completions" not in loaded.does:
        with pytest.raises(TokenworksError):
            loaded.chat_prompt([{"role": "user", "content": "x"}])


@pytest.mark.asyncio(loop_scope="module")  # an encoder batches on the loop it was first asked on
async def test_embeddings_have_unit_length(loaded: Engine) -> None:
    if "embeddings" not in loaded.does:
        pytest.skip("does not embed")
    vectors = await loaded.embed(["the card", "help"])
    assert len(vectors.values) == len(vectors.tokens) == 2
    assert sum(value * value for value in vectors.values[0]) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.asyncio(loop_scope="module")  # an encoder batches on the loop it was first asked on
async def test_work_that_is_traced_is_told_when_it_began_and_was_read(loaded: Engine) -> None:
    timeline = Timeline()
    work = Account().begin(timeline)
    if "embeddings" in loaded.does:
        await loaded.embed(["the card"], work=work)
    else:
        await answer(loaded, PROMPT, greedy(5, ignore_eos=True, work=work))
        assert timeline.decode.steps == 4
        assert timeline.written_s > timeline.read_s
    assert timeline.arrived_s < timeline.taken_s < timeline.read_s <= time.monotonic()
    assert (timeline.prefill.steps, timeline.prefill.batch) == (1, 1.0)


async def test_max_tokens_ends_an_answer_for_length(generator: Engine) -> None:
    pieces = await answer(generator, PROMPT, greedy(7, ignore_eos=True))
    assert sum(piece.tokens for piece in pieces) == 7
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["length"]
    assert pieces[-1].finish_reason == "length"


async def test_greedy_answers_repeat(generator: Engine) -> None:
    first, second = [await answer(generator, PROMPT, greedy()) for _ in range(2)]
    assert text(first) == text(second) != ""


async def test_the_same_seed_gives_the_same_text_and_another_seed_another(generator: Engine) -> None:
    drawn = [
        text(await answer(generator, PROMPT, Sampling(max_tokens=24, seed=seed, ignore_eos=True))) for seed in (7, 7, 8)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


async def test_without_a_seed_answers_differ(generator: Engine) -> None:
    drawn = {text(await answer(generator, PROMPT, Sampling(max_tokens=24, ignore_eos=True))) for _ in range(3)}
    assert len(drawn) > 1


async def test_n_choices_differ_and_each_ends(generator: Engine) -> None:
    pieces = await answer(generator, PROMPT, Sampling(max_tokens=12, n=3, seed=1, ignore_eos=True))
    assert sorted(piece.index for piece in pieces if piece.finish_reason) == [0, 1, 2]
    assert len({text(pieces, index) for index in range(3)}) == 3


async def test_a_stop_string_ends_the_answer_and_never_shows(generator: Engine) -> None:
    whole = text(await answer(generator, PROMPT, greedy(40, ignore_eos=True)))
    stop = whole[10:13]  # spans token borders wherever they are
    pieces = await answer(generator, PROMPT, greedy(40, ignore_eos=True, stop=(stop,)))
    assert text(pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"


async def test_pieces_put_together_are_the_whole_text(generator: Engine) -> None:
    streamed = text(await answer(generator, PROMPT, greedy(60, ignore_eos=True, stop=("\x00never",))))
    assert streamed == text(await answer(generator, PROMPT, greedy(60, ignore_eos=True)))


async def test_logprobs_are_the_models_own_before_temperature(generator: Engine) -> None:
    cold = await answer(generator, PROMPT, greedy(1, logprobs=0))
    hot = await answer(generator, PROMPT, Sampling(max_tokens=1, temperature=2.0, top_k=1, logprobs=0))
    assert cold[0].logprobs[0].logprob == pytest.approx(hot[0].logprobs[0].logprob, abs=1e-3)
    assert cold[0].logprobs[0].logprob < 0


async def test_a_presence_penalty_makes_tokens_rarer(generator: Engine) -> None:
    def distinct(pieces: list[Piece]) -> int:
        return len({entry.token for piece in pieces for entry in piece.logprobs})

    plain = distinct(await answer(generator, PROMPT, greedy(48, ignore_eos=True, logprobs=0)))
    frequent = greedy(48, ignore_eos=True, logprobs=0, frequency_penalty=2.0, presence_penalty=2.0)
    assert distinct(await answer(generator, PROMPT, frequent)) >= plain


async def test_closing_an_answer_frees_its_place(generator: Engine) -> None:
    stream: AsyncIterator[Piece] = generator.generate(PROMPT, greedy(200, ignore_eos=True))
    async with aclosing(stream) as pieces:  # type: ignore[type-var]
        await anext(pieces)
    async with asyncio.timeout(60):
        while generator.running:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
    assert text(await answer(generator, PROMPT, greedy(2, ignore_eos=True)))


async def test_many_answers_at_once_are_as_alone(generator: Engine) -> None:
    prompts = [PROMPT[place:] for place in range(0, 40, 5)]
    alone = [text(await answer(generator, prompt, greedy(12))) for prompt in prompts]
    together = await asyncio.gather(*(answer(generator, prompt, greedy(12)) for prompt in prompts))
    assert [text(pieces) for pieces in together] == alone


@pytest.mark.parametrize(
    "sampling",
    [
        greedy(40, ignore_eos=True),
        greedy(40, ignore_eos=True, frequency_penalty=0.6, repetition_penalty=1.2),
        Sampling(max_tokens=40, temperature=1.0, seed=11, top_p=0.9, ignore_eos=True),
        Sampling(max_tokens=40, temperature=0.7, seed=3, stop=(" a", "zq"), presence_penalty=0.4),
    ],
)
async def test_an_answer_is_taken_up_where_another_engine_left_it(generator: Engine, sampling: Sampling) -> None:
    if "resume" not in generator.supports:
        pytest.skip("does not resume")
    whole = await answer(generator, PROMPT, sampling)
    assert sum(len(piece.ids) for piece in whole) == sum(piece.tokens for piece in whole)
    ids = [token for piece in whole for token in piece.ids]
    for cut in sorted({1, 2, 7, len(ids) // 2, len(ids) - 1} & set(range(1, len(ids)))):
        begun = tuple((token,) for token in ids[:cut])
        rest = await answer(generator, PROMPT, msgspec.structs.replace(sampling, seen=begun))
        assert [token for piece in rest for token in piece.ids] == ids[cut:]
        assert rest[-1].finish_reason == whole[-1].finish_reason
        assert text(whole).endswith(text(rest))


async def test_json_follows_its_schema(generator: Engine) -> None:
    if "json_schema" not in generator.supports:
        pytest.skip("does not do json_schema")
    chosen = text(await answer(generator, PROMPT, greedy(40, json_schema={"enum": ["hand over", "close"]})))
    assert chosen in {'"hand over"', '"close"'}
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    schema["additionalProperties"] = False
    # A random model likes the white space that JSON allows anywhere, so the object may not get to its end.
    begun = "".join(text(await answer(generator, PROMPT, greedy(80, json_schema=schema))).split())
    assert begun
    assert any(whole.startswith(begun) for whole in ('{"ok":true}', '{"ok":false}'))


def test_a_name_that_is_no_engine_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="openvino"):
        parts.load(ROOM, "openvin")


def test_finding_engines_loads_nothing_heavy() -> None:
    code = (
        "import sys; from tokenworks import parts; room = 'tokenworks.serving.engines'; "
        "[parts.load(room, name) for name in parts.names(room)]; "
        "print([name for name in ('torch', 'openvino', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.asyncio(loop_scope="module")  # an encoder batches on the loop it was first asked on
async def test_the_time_of_its_steps_goes_to_those_who_asked(loaded: Engine) -> None:
    account = Account()
    works = [account.begin() for _ in range(3)]
    began_s = time.perf_counter()
    if "completions" in loaded.does:
        asked = [greedy(12, ignore_eos=True, work=work) for work in works]
        await asyncio.gather(*(answer(loaded, PROMPT, one) for one in asked))
    else:
        texts = ["help", "the card", "the card is lost"]
        await asyncio.gather(*(loaded.embed([text], work=work) for text, work in zip(texts, works, strict=True)))
    took_s = time.perf_counter() - began_s
    assert min(work.engine_s for work in works) > 0
    assert sum(work.engine_s for work in works) <= took_s


async def test_what_was_spent_is_known_with_the_last_piece(generator: Engine) -> None:
    work = Account().begin()
    async for piece in generator.generate(PROMPT, greedy(12, ignore_eos=True, work=work)):
        if piece.finish_reason:
            at_the_end_s = work.tell().engine_s
    await asyncio.sleep(0.05)
    assert work.tell().engine_s == at_the_end_s > 0
