"""The same stack for callers inside the process: a Request in, an Answer out, authorised and recorded as any."""

from __future__ import annotations

import time

import msgspec

from tokenworks.core.ids import new_id
from tokenworks.core.request import Answer, Answerer, Request
from tokenworks.gateway.exchange import Exchange, Handle, whole
from tokenworks.gateway.openai.assemble import assemble


def answerer(handle: Handle) -> Answerer:
    """Return `handle` as an `Answerer`, for use on the event loop of its pool.

    With `stream` in the body the answer is assembled from the stream, which makes `ttft_s` a true first token.
    """

    async def answer(request: Request) -> Answer:
        exchange = Exchange(
            endpoint=request.endpoint,
            read=whole(msgspec.json.encode(request.body)),
            request_id=new_id("req"),
            credential=request.key,
            declared=request.label,
            face=request.face,
            urgency=request.priority,
        )
        reply = await handle(exchange)
        if isinstance(reply.body, bytes):
            status, body = reply.status, msgspec.json.decode(reply.body)
        else:
            try:
                status, body = await assemble(request.endpoint, reply.body)
            finally:
                await reply.body.aclose()
        latency_s = time.monotonic() - exchange.started_s
        return Answer(
            request_id=exchange.request_id,
            status=status,
            body=body,
            usage=exchange.usage,
            spent=exchange.spent,
            label=str(exchange.label) if exchange.label is not None else "",
            model_version=exchange.version,
            latency_s=latency_s,
            ttft_s=exchange.ttft_s or latency_s,
        )

    return answer
