"""Works on responses that nobody waits for: each asked through the stack in its caller's name, again after a kill."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import structlog

from tokenworks.core.errors import StoreError
from tokenworks.core.ids import new_id
from tokenworks.core.label import Label, highest
from tokenworks.gateway.exchange import Exchange, Handle, whole
from tokenworks.gateway.platform.asking import PATIENCE_S, PAUSE_S
from tokenworks.gateway.responses import waiting as shelf
from tokenworks.gateway.responses.kept import Kept, KeptTexts, digest_of
from tokenworks.gateway.responses.waiting import DELETED, LIVE, WAITING, Waiting, kept_in
from tokenworks.gateway.ruling import Least
from tokenworks.gateway.sse import DONE, payload
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import RequestEntry
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

STREAMED = b',"stream":true,"stream_options":{"include_usage":true}}'
CODES = {400: "invalid_prompt", 429: "rate_limit_exceeded"}  # what OpenAI calls failures, by status
FindEntry = Callable[[str, str], Awaitable[RequestEntry | None]]  # request, tenant
log = structlog.get_logger()


class FailedError(Exception):
    """There is no answer, and there will be none."""

    def __init__(self, message: str, code: str = "server_error") -> None:
        super().__init__(message)
        self.told = {"code": code, "message": message}


class NotWantedError(Exception):
    """It was cancelled or deleted meanwhile."""


class Background:
    """What runs now. Belongs to one event loop; `begin` and `end` may be called from any thread.

    At most `concurrency` are asked at a time, at most half of them for one tenant; the stack bounds them further.
    """

    def __init__(
        self,
        objects: Objects,
        texts: KeptTexts | None,
        handle: Handle,
        find: FindEntry,
        *,
        home: str,
        concurrency: int,
    ) -> None:
        self._objects, self._texts, self._handle, self._find, self._home = objects, texts, handle, find, home
        self._room = asyncio.Semaphore(concurrency)
        self._rooms: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(max(1, concurrency // 2)))
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, str] = {}  # under which name the texts of what is asked now will lie
        self._stopping: set[asyncio.Task[None]] = set()

    async def resume(self) -> None:
        """Take up what the last process of this home left; stop what nobody wants any more."""
        running = set(self._tasks)
        of_all = await asyncio.to_thread(self._objects.of, WAITING)
        found = [one for one in of_all if one.body["home"] == self._home]
        live = {one.id for one in found if kept_in(one).status in LIVE}
        for id in running - live:
            self._begin_stop(id)
        for one in found:
            if one.id in live:
                self._start(one.id, one.scope)
            else:
                await asyncio.to_thread(self._settle, one)

    def begin(self, id: str) -> None:
        """Work on it."""
        self._loop.call_soon_threadsafe(self._begin, id)

    def end(self, id: str) -> None:
        """Stop it, where it runs here; what it is said to be is the caller's business."""
        self._loop.call_soon_threadsafe(self._begin_stop, id)

    async def close(self) -> None:
        """Stop everything; it goes on at the next start."""
        tasks = [*self._tasks.values(), *self._stopping]
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, id: str) -> None:
        self._keep(self._loop.create_task(self._look(id)))

    async def _look(self, id: str) -> None:
        found = await asyncio.to_thread(self._objects.get, WAITING, id)
        if found is not None and kept_in(found).status in LIVE:
            self._start(id, found.scope)

    def _start(self, id: str, tenant: str) -> None:
        if id not in self._tasks:
            task = self._loop.create_task(self._guarded(id, tenant), name=f"response {id}")
            self._tasks[id] = task
            task.add_done_callback(lambda _: self._tasks.pop(id, None))

    def _begin_stop(self, id: str) -> None:
        self._keep(self._loop.create_task(self._stop(id)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _stop(self, id: str) -> None:
        """Stop it; an answer that was complete in the same moment is nobody's."""
        if (task := self._tasks.get(id)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if (left := self._asked.pop(id, "")) and self._texts is not None:
            await asyncio.to_thread(self._texts.erase_requests, [left])

    async def _guarded(self, id: str, tenant: str) -> None:
        """A border: whatever a response dies of becomes its error; where the catalog is away, it is taken up later."""
        try:
            async with self._rooms[tenant], self._room:
                await self._run(id)
        except NotWantedError:
            return
        except FailedError as failed:
            await self._fail(id, failed.told)
        except Exception as error:
            if type(error) is StoreError:  # one of its kinds would be a fault of ours
                log.warning("response is left for later", response=id, error=str(error))
                return
            log.exception("response failed", response=id)
            message = f"the response failed; the server's log says why, under {id}"
            await self._fail(id, FailedError(message).told)

    def _settle(self, found: Object) -> None:
        """Finish what a kill left of an end."""
        waiting: Waiting = msgspec.convert(found.body, Waiting)
        if waiting.kept.status == DELETED and self._texts is not None:
            requests = (waiting.kept.request_id, waiting.kept.accepted_as, waiting.asked_as)
            self._texts.erase_requests([named(waiting.tenant, one) for one in requests if one])
        shelf.settle(self._objects, found.id)

    async def _fail(self, id: str, error: dict[str, str]) -> None:
        def failed(kept: Kept) -> Kept:
            return msgspec.structs.replace(kept, status="failed", error=error)

        await asyncio.to_thread(shelf.end, self._objects, id, failed)

    async def _run(self, id: str) -> None:
        found = await asyncio.to_thread(self._objects.get, WAITING, id)
        if found is None:
            raise NotWantedError
        waiting: Waiting = msgspec.convert(found.body, Waiting)
        if await self._answered_before(id, waiting):
            return
        prompt = await asyncio.to_thread(self._prompt, id, waiting)
        body, until_s = prompt[:-1] + STREAMED, time.monotonic() + PATIENCE_S
        while not await self._ask(id, body, time.monotonic() >= until_s):
            await asyncio.sleep(PAUSE_S)

    async def _answered_before(self, id: str, waiting: Waiting) -> bool:
        """Finish it where the ledger says that a process was killed after the answer, and before it was noted."""
        entry = await self._find(waiting.asked_as, waiting.tenant) if waiting.asked_as else None
        if entry is None or entry.outcome != "ok" or self._texts is None:
            return False
        texts = await asyncio.to_thread(self._texts.get, named(waiting.tenant, waiting.asked_as))
        if texts is None:
            return False
        label = Label.parse(entry.label)
        await asyncio.to_thread(self._complete, id, entry.tenant, entry.request_id, texts, label)
        return True

    def _prompt(self, id: str, waiting: Waiting) -> bytes:
        texts = self._texts.get(named(waiting.tenant, waiting.kept.request_id)) if self._texts is not None else None
        if texts is None or digest_of(id, *texts) != waiting.kept.digest:
            raise FailedError("what was asked is no longer kept: it was erased, or its request id was used again")
        return texts[0]

    async def _ask(self, id: str, body: bytes, last: bool) -> bool:
        """Ask once and finish; return False where an engine is not there yet and this is not the last attempt."""
        request_id = new_id("req")
        waiting = await asyncio.to_thread(shelf.asking, self._objects, id, request_id)
        if waiting is None:
            raise NotWantedError
        self._asked[id] = named(waiting.tenant, request_id)
        exchange = _exchange(waiting, request_id, body)
        status, answer = await _answer(self._handle, exchange)
        if status == 503 and not last:
            return False
        if status != 200:
            raise _failed(status, answer)
        self._asked.pop(id, None)  # from here on `_complete` forgets what nobody wants
        label, texts = highest([exchange.label or Label.PUBLIC, exchange.outgoing]), (exchange.body, answer)
        finish = partial(self._complete, id, waiting.tenant, request_id, texts, exchange.label or Label.PUBLIC, label)
        await asyncio.to_thread(finish)
        return True

    def _complete(
        self,
        id: str,
        tenant: str,
        request_id: str,
        texts: tuple[bytes, bytes],
        label: Label,
        outgoing: Label | None = None,
    ) -> None:
        """Have the answer found; one that nobody wants any more is forgotten."""

        def answered(kept: Kept) -> Kept:
            return msgspec.structs.replace(
                kept,
                request_id=request_id,
                accepted_as=kept.request_id,
                label=str(label),
                outgoing=str(highest([label, outgoing or Label.parse(kept.outgoing)])),
                digest=digest_of(id, *texts),
                status="",
            )

        if not shelf.end(self._objects, id, answered) and self._texts is not None:
            self._texts.erase_requests([named(tenant, request_id)])


def _exchange(waiting: Waiting, request_id: str, body: bytes) -> Exchange:
    return Exchange(
        endpoint="chat.completions",
        face="responses",
        read=whole(body),
        request_id=request_id,
        credential=waiting.key_id,
        declared=waiting.declared,
        conversation=waiting.conversation,
        may_learn=waiting.may_learn,
        stored=True,
        urgency=waiting.urgency or "standard",  # after whoever waits
        due_ms=waiting.due_ms,
        least=Least(Label.parse(waiting.inside), Label.parse(waiting.outside)),
    )


async def _answer(handle: Handle, exchange: Exchange) -> tuple[int, bytes]:
    """Return status and answer. It is asked for as a stream, so that what a stopped engine had written is metered."""
    reply = await handle(exchange)
    if isinstance(reply.body, bytes):
        return reply.status, reply.body
    events: list[bytes] = []
    try:
        async for chunk in reply.body:
            events.append(chunk)
    except BaseException:
        await reply.body.aclose()
        raise
    last = events.pop()
    return (200, b"".join(events)) if last == DONE else (502, payload(last))


def _failed(status: int, answer: bytes) -> FailedError:
    message = msgspec.json.decode(answer)["error"]["message"]
    return FailedError(str(message), CODES.get(status, "server_error"))
