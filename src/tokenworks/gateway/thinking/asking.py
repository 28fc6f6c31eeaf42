"""A sample as an ordinary call: authorised, limited, recorded, answered by whoever answers others."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tokenworks.core.label import Label, highest
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.exchange import Exchange, Handle, Reply, whole
from tokenworks.gateway.openai.bodies import parse
from tokenworks.gateway.ruling import Least
from tokenworks.gateway.thinking.thought import Thought
from tokenworks.gateway.thinking.wish import Wanted
from tokenworks.serving.thinking.continuing import longer_prompt, more_turns
from tokenworks.serving.thinking.contract import Draw, DrawError, NoLogprobsError, Sample
from tokenworks.serving.thinking.verifying import Said

_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OURS = ("reasoning", "reasoning_effort", "stream", "stream_options", "n", "max_completion_tokens", "service_tier")


# What reading an answer that is none in OpenAI's words ends in.
_NOT_ITS_WORDS = (LookupError, TypeError, AttributeError)


class RefusedError(DrawError):
    """A sample was answered with an error object."""

    def __init__(self, reply: Reply) -> None:
        assert isinstance(reply.body, bytes), "an error is whole"
        said = msgspec.json.decode(reply.body).get("error") or {}
        status = reply.status
        super().__init__(
            str(said.get("message", "")),
            code=str(said.get("code") or status),
            final=status in (400, 401, 403, 404, 413, 422, 429),
            spent=status in (500, 502, 504),
        )
        self.param = said.get("param")
        self.error = ApiError(
            status,
            str(said.get("message", "")),
            code=self.code,
            kind=str(said.get("type", "")),
            param=self.param,
            headers=tuple(one for one in reply.headers if one[0] == "retry-after"),
        )


class Asking:
    """Asks for the samples of one answer, and keeps what came."""

    def __init__(self, exchange: Exchange, inner: Handle, wanted: Wanted) -> None:
        assert exchange.thought is not None, "whoever is thought about knows it"
        self._parent = exchange
        self._inner = inner
        self._wanted = wanted
        self._thought = exchange.thought
        self._fields = {name: value for name, value in _RAW.decode(exchange.body).items() if name not in _OURS}
        self.exchanges: dict[int, Exchange] = {}  # those that were answered, by number
        self.bodies: dict[int, dict[str, Any]] = {}
        self.wants_logprobs = wanted.logprobs not in (None, False)
        self._judges = 0
        self.judged: list[Exchange] = []

    async def sample(self, draw: Draw, most: int | None) -> Sample:
        """Ask for a sample of at most so many tokens. Raises `DrawError`."""
        least = self._told() if draw.after else self._parent.least
        exchange = self._exchange(f"s{draw.number}", self._body(draw, most), least)
        reply = await self._inner(exchange)
        assert isinstance(reply.body, bytes), "it was not asked to stream"
        if reply.status != 200:
            refused = RefusedError(reply)
            if draw.logprobs and reply.status == 400 and refused.param in ("logprobs", "top_logprobs"):
                raise NoLogprobsError(str(refused))
            raise refused
        body = msgspec.json.decode(reply.body)
        self._take(exchange)
        try:
            sample = _sample(draw.number, exchange, body)
        except _NOT_ITS_WORDS as error:
            raise _not_understood(error) from None
        self.exchanges[draw.number], self.bodies[draw.number] = exchange, body
        return sample

    async def judge(self, model: str, question: str, most: int) -> Said:
        """Ask another model about a sample, in the caller's name; its tokens count as thinking. Raises `DrawError`."""
        self._judges += 1
        asked = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": most}
        body, least = msgspec.json.encode(asked), self._told()
        exchange = self._exchange(f"j{self._judges}", body, least, endpoint="chat.completions")
        reply = await self._inner(exchange)
        if reply.status != 200:
            raise RefusedError(reply)
        self._take(exchange)
        self.judged.append(exchange)
        assert isinstance(reply.body, bytes), "it was not asked to stream"
        try:
            text = str(msgspec.json.decode(reply.body)["choices"][0]["message"]["content"] or "")
        except _NOT_ITS_WORDS as error:
            raise _not_understood(error) from None
        return Said(text, exchange.usage.completion_tokens)

    def _take(self, exchange: Exchange) -> None:
        """Count what it came to at once: an answer that is broken off has used it."""
        self._thought.take(exchange.price, exchange.usage)
        self._parent.usage = self._thought.usage

    @property
    def label(self) -> Label:
        """The highest label of what was answered so far."""
        answered = (*self.exchanges.values(), *self.judged)
        return highest(one.label for one in answered if one.label is not None)

    def _told(self) -> Least:
        """Return what a text counts as that goes on from samples, or is about them."""
        return self._parent.least.raised(self.label)

    def _exchange(self, name: str, body: bytes, least: Least, *, endpoint: str = "") -> Exchange:
        parent = self._parent
        endpoint = endpoint or parent.endpoint
        return Exchange(
            endpoint=endpoint,
            face=parent.face,
            read=whole(body),
            request_id=f"{parent.request_id}-{name}",
            at=time.time(),
            principal=parent.principal,
            body=body,
            asked=parse(endpoint, body),
            declared=parent.declared,
            label=Label.parse(parent.declared) if parent.declared else None,
            least=least,
            user=parent.user,
            conversation=parent.conversation,
            may_learn=False,
            priority=parent.priority,
            deadline_s=parent.deadline_s,
            cut_s=parent.cut_s,
            thought=Thought(of=parent.request_id, sample=True, kept=self._thought.kept),
        )

    def _body(self, draw: Draw, most: int | None) -> bytes:
        wanted, fields = self._wanted, dict[str, Any](self._fields)
        chat = self._parent.endpoint == "chat.completions"
        if most is not None:
            fields["max_tokens"] = most
        if wanted.seed is not None:
            fields["seed"] = wanted.seed + draw.number - 1
        if draw.logprobs and not self.wants_logprobs:
            fields["logprobs"] = True if chat else 0
        if (draw.after or draw.cue) and chat:
            fields["messages"] = more_turns(wanted.messages, draw)
        elif draw.after or draw.cue:
            fields["prompt"] = longer_prompt(wanted.prompt, draw)
        return msgspec.json.encode(fields)


def _not_understood(error: Exception) -> DrawError:
    return DrawError(f"the engine did not answer in OpenAI's words ({error!r})", code="engine_error", spent=True)


def _sample(number: int, exchange: Exchange, body: dict[str, Any]) -> Sample:
    choice = body["choices"][0]
    text = choice["message"].get("content") if "message" in choice else choice.get("text")
    usage, entry = exchange.usage, exchange.entry
    return Sample(
        number=number,
        text=str(text or ""),
        finish_reason=str(choice.get("finish_reason") or "stop"),
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        logprobs=_logprobs(choice.get("logprobs")),
        engine_s=entry.engine_s if entry is not None else 0.0,
        joules=entry.joules if entry is not None else None,
        cost_micro=entry.cost_micro if entry is not None else 0,
        id=exchange.request_id,
    )


def _logprobs(told: Any) -> tuple[float, ...]:
    """Return the natural-log probability of each chosen token, in either form; of what is no number, nothing."""
    if not isinstance(told, dict):
        return ()
    listed = told.get("token_logprobs") or [one.get("logprob") for one in told.get("content") or ()]
    return tuple(float(one) for one in listed if isinstance(one, int | float))
