"""What an engine is, inside its own process: the contract that every file in `engines/` keeps.

An engine module offers `load(folder: Path, options: Options) -> Engine` and `serves(folder: Path) -> bool`, the
latter cheap and without importing anything heavy. The process around it (`host.py`) speaks the OpenAI HTTP protocol.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.metering.attribution.account import Work


class EngineDied(EngineError):
    """The engine cannot go on; its process reports itself degraded, ends its answers and exits with an error."""


Text = str | list[int]  # or the ids of its tokens, special ones included, as the model's own tokenizer makes them


class ChatPrompt(str):
    """A prompt that a chat template has made: it carries its special tokens already, so none are added around it."""

    __slots__ = ()


class ParameterError(ValueError):
    """A sampling parameter holds what this engine cannot take; the caller's error, `param` names it."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to load a model."""

    threads: int = 2
    precision: str = "auto"  # auto | f32 | bf16 | int8
    max_batch: int = 32
    cache: str = ""  # folder for converted models, empty: beside nothing, convert in memory
    url: str = ""  # engine `remote`: where the other server is
    key: str = ""
    meter: str = ""  # folder in which the engine says what it worked, to whoever meters; empty: nobody does
    otlp_endpoint: str = ""  # where spans of traced requests go; empty: there are none
    otlp_service: str = ""  # how the engine is called there


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are chosen, already validated by the host. Defaults are those of the OpenAI API."""

    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: off
    seed: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logprobs: int | None = None  # number of alternatives to report; None: none at all
    json_schema: dict[str, Any] | None = None
    ignore_eos: bool = False
    told: bool = False  # each piece says which tokens it is made of
    seen: tuple[
        tuple[int, ...], ...
    ] = ()  # tokens of an answer that another engine began, in the groups it told them in
    unwatched: bool = False  # nobody reads along: the engine may hand out the text once, at its end
    adapter: str = ""
    cache_salt: str = ""  # prefixes read before are found again only under the salt they were read with, as in vLLM
    work: Work | None = None  # whose account the steps go to


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """One token with its natural-log probability and its best alternatives."""

    token: str
    logprob: float
    top: dict[str, float] = {}


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Some more of an answer. Text arrives whole: never half a UTF-8 character, never part of a stop string."""

    index: int = 0  # which of the n choices
    text: str = ""
    tokens: int = 0  # how many tokens this piece stands for
    ids: tuple[int, ...] = ()  # which they are
    finish_reason: str | None = None  # stop | length, on the last piece of a choice
    stop: str = ""  # the stop string that ended the choice, where one did
    logprobs: tuple[TokenLogprob, ...] = ()
    cached_tokens: int = 0  # prompt tokens taken from a prefix cache, on the first piece


class Vectors(msgspec.Struct, frozen=True, kw_only=True):
    """What an encoder gives for some texts."""

    values: list[list[float]]  # embeddings (unit length), or class probabilities
    tokens: list[int]  # prompt tokens of each text


class Engine(Protocol):
    """A loaded model. Methods outside `does` raise `EngineError`."""

    @property
    def does(self) -> frozenset[str]:
        """Return endpoints answered: of 'completions', 'chat.completions', 'embeddings', 'classify'."""
        ...

    @property
    def supports(self) -> frozenset[str]:
        """Return optional sampling features: of 'logprobs', 'seed', 'penalties', 'json_schema', 'adapters', ..."""
        ...

    @property
    def context_length(self) -> int:
        """Return the most tokens that prompt and answer may have together."""
        ...

    @property
    def classes(self) -> list[str]:
        """Return the class names of a classifier, in the order of its probabilities."""
        ...

    def chat_prompt(self, messages: Sequence[dict[str, Any]]) -> str:
        """Return the prompt that the model's own chat template makes of `messages`."""
        ...

    def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` has."""
        ...

    def generate(self, prompt: str, sampling: Sampling) -> AsyncIterator[Piece]:
        """Yield the answer as it is made; closing the iterator cancels the work.

        Where `supports` has 'resume' and `sampling.seen` tokens, only what comes after them is yielded, and it is what
        would have come after them: raises `EngineError` where that cannot be had.
        """
        ...

    async def embed(self, texts: Sequence[Text], *, work: Work | None = None) -> Vectors:
        """Return one unit vector for each text; the steps go to the account of `work`."""
        ...

    async def classify(self, texts: Sequence[str], *, work: Work | None = None) -> Vectors:
        """Return the class probabilities of each text; the steps go to the account of `work`."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
