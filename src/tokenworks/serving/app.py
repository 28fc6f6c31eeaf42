"""The bare ASGI application of an engine process: the OpenAI protocol around one `Engine`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from tokenworks.core.errors import EngineError
from tokenworks.core.ids import new_id
from tokenworks.core.usage import NOTHING_SPENT, Spent, Usage
from tokenworks.metering.attribution.account import Account
from tokenworks.serving.engine import Engine, EngineDied, ParameterError, Sampling
from tokenworks.serving.pieces import merged
from tokenworks.serving.template import plain_messages
from tokenworks.serving.wire import replies
from tokenworks.serving.wire.bodies import (
    ChatBody,
    ClassifyBody,
    CompletionBody,
    EmbeddingBody,
    StreamOptions,
    TokenizeBody,
    embeddable,
    parse,
    texts,
)
from tokenworks.serving.wire.dimensions import shortened
from tokenworks.serving.wire.exchange import Exchange, Receive, Send
from tokenworks.serving.wire.problem import Problem, invalid
from tokenworks.serving.wire.sampling import chat_sampling, completion_sampling

if TYPE_CHECKING:
    from tokenworks.serving.tracing.spans import EngineTraces

Scope = MutableMapping[str, Any]
MOST_CHARACTERS_PER_TOKEN = 32  # a prompt longer than context x this is refused before it is tokenised

log = structlog.get_logger("tokenworks.serving")


class EngineApp:
    """Answers /health, /v1/models and the endpoints that the engine does."""

    def __init__(
        self,
        engine: Engine,
        model: str,
        account: Account | None = None,
        traces: EngineTraces | None = None,
        max_body_bytes: int = 32 << 20,
    ) -> None:
        self._engine, self._model, self._max_body_bytes = engine, model, max_body_bytes
        self._account = account or Account()
        self._traces = traces
        self._created = int(time.time())
        self._in_flight = 0
        self._failure = ""
        self.died = asyncio.Event()
        self._routes: dict[str, tuple[str, Callable[[bytes, Exchange], Awaitable[None]]]] = {
            "/v1/chat/completions": ("chat.completions", self._chat),
            "/v1/completions": ("completions", self._complete),
            "/v1/embeddings": ("embeddings", self._embed),
            "/classify": ("classify", self._classify),
            "/tokenize": ("chat.completions", self._tokenize),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        exchange = Exchange(receive, send)
        traced = self._traces.begin(scope) if self._traces is not None else None
        if traced is not None:
            exchange.timeline = traced.timeline
        try:
            await self._answer(scope, exchange)
        except Problem as problem:
            await exchange.refuse(problem)
        except ParameterError as error:
            await exchange.refuse(invalid(str(error), error.param, "invalid_value"))
        except ValueError as error:
            await exchange.refuse(invalid(str(error)))
        except EngineDied as error:
            self._failure = str(error)
            self.died.set()
            await exchange.refuse(
                Problem(503, f"{error}; the supervisor starts it again, ask once more", code="engine_died")
            )
        except EngineError as error:
            await exchange.refuse(Problem(500, str(error), code="engine_error"))
        except Exception as error:
            log.exception("request failed", path=scope["path"])
            await exchange.refuse(Problem(500, f"unexpected {type(error).__name__}; the engine's log has the details"))
        finally:
            if traced is not None:
                traced.end(exchange)

    async def _answer(self, scope: Scope, exchange: Exchange) -> None:
        path, method = scope["path"], scope["method"]
        if path == "/health":
            await self._health(exchange)
        elif path == "/v1/models" and method == "GET":
            await exchange.reply(200, replies.encode({"object": "list", "data": [self._card()]}))
        elif path not in self._routes:
            raise Problem(404, f"{method} {path} does not exist; there are: {', '.join(sorted(self._routes))}")
        elif method != "POST":
            raise Problem(405, f"{path} is asked with POST")
        else:
            await self._route(path, exchange)

    async def _route(self, path: str, exchange: Exchange) -> None:
        needed, answer = self._routes[path]
        if needed not in self._engine.does:
            does = ", ".join(sorted(self._engine.does))
            raise Problem(
                404, f"model {self._model!r} does not answer {path}; it does: {does}", code="model_not_capable"
            )
        body = await exchange.read(self._max_body_bytes)
        self._in_flight += 1
        try:
            await answer(body, exchange)
        finally:
            self._in_flight -= 1

    async def _health(self, exchange: Exchange) -> None:
        state = {"status": "degraded" if self._failure else "ok", "model": self._model, "in_flight": self._in_flight}
        if self._failure:
            state["reason"] = self._failure
        await exchange.reply(503 if self._failure else 200, replies.encode(state))

    def _card(self) -> dict[str, Any]:
        return {
            "id": self._model,
            "object": "model",
            "created": self._created,
            "owned_by": "tokenworks",
            "max_model_len": self._engine.context_length,
            "does": sorted(self._engine.does),
            "supports": sorted(self._engine.supports),
        }

    async def _chat(self, data: bytes, exchange: Exchange) -> None:
        body = parse(data, ChatBody)
        if not body.messages:
            raise invalid("messages is empty; give at least one message", "messages")
        prompt = self._engine.chat_prompt(plain_messages(body.messages))
        prompt_tokens = self._count(prompt, "messages")
        sampling = chat_sampling(body, self._engine.supports, self._engine.context_length - prompt_tokens)
        form = replies.ChatForm(new_id("chatcmpl"), int(time.time()), self._model, sampling.logprobs is not None)
        await self._generate([(prompt, prompt_tokens)], sampling, form, body, exchange)

    async def _complete(self, data: bytes, exchange: Exchange) -> None:
        body = parse(data, CompletionBody)
        given = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        if not given or not all(isinstance(text, str) for text in given):
            raise invalid("prompt is neither a text nor a list of texts; token ids are not accepted", "prompt")
        prompts = [(text, self._count(text, "prompt")) for text in given]
        room = self._engine.context_length - max(count for _, count in prompts)
        sampling = completion_sampling(body, self._engine.supports, room)
        form = replies.CompletionForm(new_id("cmpl"), int(time.time()), self._model, sampling.logprobs is not None)
        await self._generate(prompts, sampling, form, body, exchange)

    def _count(self, prompt: str, field: str) -> int:
        """Return the prompt's tokens; raise `Problem` where they leave no room for an answer."""
        limit = self._engine.context_length
        most = limit * MOST_CHARACTERS_PER_TOKEN
        head = prompt if len(prompt) <= most else prompt[:most]  # 10 MB are not tokenised to be refused
        count = self._engine.count_tokens(head)
        if count >= limit or len(head) < len(prompt):
            more = "more than " if len(head) < len(prompt) else ""
            raise invalid(
                f"the prompt has {more}{count} tokens, but the context of {self._model!r} is {limit} tokens, "
                "the answer included; shorten the prompt", field, "context_length_exceeded",
            )  # fmt: skip
        if count == 0:
            raise invalid("the prompt is empty; give at least one character", field)
        return count

    async def _generate(
        self,
        prompts: list[tuple[str, int]],
        sampling: Sampling,
        form: replies.ChatForm | replies.CompletionForm,
        body: ChatBody | CompletionBody,
        exchange: Exchange,
    ) -> None:
        """Run the prompts side by side, stream or collect their pieces, and cancel all when the client goes."""
        choices = [replies.Choice() for _ in range(len(prompts) * sampling.n)]
        prompt_tokens = sum(count for _, count in prompts)
        told = sampling.told and len(choices) == 1 and (sampling.logprobs is None or isinstance(form, replies.ChatForm))
        if sampling.seen:
            choices[0].tokens, choices[0].resumed = sum(map(len, sampling.seen)), True
        options = body.stream_options or StreamOptions()
        cached = 0
        work = self._account.begin(exchange.timeline)
        sampling = msgspec.structs.replace(sampling, work=work)
        watch = asyncio.create_task(_cancel_when_gone(exchange, asyncio.current_task()))
        try:
            async with contextlib.aclosing(merged(self._engine, [text for text, _ in prompts], sampling)) as pieces:
                async for piece in pieces:
                    choice = choices[piece.index]
                    choice.add(piece)
                    cached += piece.cached_tokens
                    if body.stream:
                        so_far = None
                        if options.continuous_usage_stats:
                            so_far = replies.total(prompt_tokens, choices, cached, work.tell())
                        opening = form.opening(piece.index) if len(choice.texts) == 1 and not choice.resumed else b""
                        ids = replies.ids(piece) if told else b""
                        await exchange.event(opening + ids + form.event(piece, choice, so_far))
            watch.cancel()  # the end of the response looks like a client that went
            exchange.spent = work.tell()
            used = replies.total(prompt_tokens, choices, cached, exchange.spent)
            if not body.stream:
                await exchange.reply(200, form.body(choices, used))
                return
            last = form.usage_event(used) if options.include_usage else b""
            await exchange.event(last + replies.DONE, last=True)
        except asyncio.CancelledError:
            exchange.error = "cancelled"
            if not watch.done() or watch.cancelled():
                raise
        finally:
            watch.cancel()
            work.close()
            made = sum(choice.tokens for choice in choices) - sum(map(len, sampling.seen))
            exchange.usage = Usage(prompt_tokens=prompt_tokens, cached_tokens=cached, completion_tokens=made)
            if exchange.spent is NOTHING_SPENT:  # it was broken off
                exchange.spent = Spent(engine_s=work.engine_s)

    async def _embed(self, data: bytes, exchange: Exchange) -> None:
        body = parse(data, EmbeddingBody)
        form = body.encoding_format or "float"
        if form not in {"float", "base64"}:
            raise invalid(f"encoding_format is {form!r}; give 'float' or 'base64'", "encoding_format")
        with contextlib.closing(self._account.begin(exchange.timeline)) as work:
            vectors = await self._engine.embed(embeddable(body), work=work)
            if body.dimensions is not None:
                vectors = shortened(vectors, body.dimensions)
            exchange.usage, exchange.spent = Usage(prompt_tokens=sum(vectors.tokens)), work.tell()
            await exchange.reply(200, replies.embeddings(vectors, self._model, form, exchange.spent))

    async def _tokenize(self, data: bytes, exchange: Exchange) -> None:
        body = parse(data, TokenizeBody)
        if not body.messages:
            raise invalid("messages is empty; give at least one message", "messages")
        prompt, limit = self._engine.chat_prompt(plain_messages(body.messages)), self._engine.context_length
        if len(prompt) > limit * MOST_CHARACTERS_PER_TOKEN:
            raise invalid(f"the prompt is far beyond the context of {limit} tokens; shorten it", "messages")
        count = self._engine.count_tokens(prompt)
        await exchange.reply(200, replies.encode({"count": count, "max_model_len": self._engine.context_length}))

    async def _classify(self, data: bytes, exchange: Exchange) -> None:
        body = parse(data, ClassifyBody)
        head = {"id": new_id("classify"), "created": int(time.time()), "model": self._model}
        with contextlib.closing(self._account.begin(exchange.timeline)) as work:
            vectors = await self._engine.classify(texts(body), work=work)
            exchange.usage, exchange.spent = Usage(prompt_tokens=sum(vectors.tokens)), work.tell()
            await exchange.reply(200, replies.classes(vectors, self._engine.classes, head, exchange.spent))


async def _cancel_when_gone(exchange: Exchange, answering: asyncio.Task[Any] | None) -> None:
    """End `answering` when the client has closed the connection."""
    await exchange.gone()
    if answering is not None:
        answering.cancel()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
