"""One destination asked once, up to the first byte of its answer."""

from __future__ import annotations

import asyncio

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.gateway.route.begun import begun
from tokenworks.gateway.route.failing import NOT_ITS_FAULT, FailedError, error_of, failure_of
from tokenworks.gateway.route.places import Place
from tokenworks.serving.answer import EngineAnswer, EngineCall, Watched


async def attempt(place: Place, call: EngineCall, *, within_s: float | None = None) -> EngineAnswer:
    """Return the answer of `place` once its first byte is here, a whole one when it is whole.

    Raises `FailedError` where another destination may be asked: nothing was passed on. The breaker is told.
    """
    place.under_way += 1
    try:
        answer = await _answer(place, call, place.first_byte_s if within_s is None else within_s)
    except FailedError as error:
        place.under_way -= 1
        if error.how in NOT_ITS_FAULT:
            place.breaker.dropped()
        else:
            place.breaker.failed(retry_after_s=error.retry_after_s)
        raise
    except BaseException:
        place.under_way -= 1
        place.breaker.dropped()
        raise
    place.breaker.succeeded()
    if isinstance(answer.body, bytes):
        place.under_way -= 1
        return answer
    return msgspec.structs.replace(answer, body=Watched(answer.body, lambda: _leave(place)))


async def _answer(place: Place, call: EngineCall, within_s: float) -> EngineAnswer:
    try:
        async with asyncio.timeout(within_s):
            answer = await begun(await place.ask(call))
    except TimeoutError:
        raise FailedError(f"{place.destination.name} said nothing for {within_s:g} s", how="silent") from None
    except EngineError as error:
        raise error_of(error, place.destination.name) from error
    failure = failure_of(answer, here=place.here, name=place.destination.name)
    if failure is not None:
        if not isinstance(answer.body, bytes):
            await answer.body.aclose()
        raise failure
    return answer


def _leave(place: Place) -> None:
    place.under_way -= 1
