"""The engines of this machine by model version: who is asked for an answer of `name@version`.

Knows processes and addresses, never keys, releases or labels.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tokenworks import parts
from tokenworks.core.destination import Destination
from tokenworks.core.errors import ConfigError, NotFoundError
from tokenworks.serving.answer import EngineAnswer, EngineCall
from tokenworks.serving.awaited import answer_of
from tokenworks.serving.child import host_command
from tokenworks.serving.choose import ROOM, choose_engine, choose_for
from tokenworks.serving.engine import Options
from tokenworks.serving.followed import EngineAt, Followed, Reach
from tokenworks.serving.link import Link
from tokenworks.serving.member import Local, Member, Remote
from tokenworks.serving.supervisor import EngineStatus, NotReadyError, Policy, Supervisor
from tokenworks.serving.traffic import Traffic

OpenModel = Callable[[str], Path]
ELSEWHERE = Destination(name="remote", region="elsewhere", clearance="public")


class Pool:
    """Starts, shares and ends engines.

    `open_model` returns the verified folder of a version that nobody has added; without it such versions do not
    exist here. `released` names the versions that must stay: of the others only `spare` idle ones are kept. A version
    gets `replicas` engines; the second of `name@1` is known as `name@1#1`. With `reach` another process of this
    machine keeps the engines, and is asked where they are. Engines run in our environment, or in `environment`.
    """

    def __init__(
        self,
        *,
        open_model: OpenModel | None = None,
        released: Callable[[], frozenset[str]] = frozenset,
        engine: str = "auto",
        options: Options | None = None,
        policy: Policy | None = None,
        wait_s: float = 2.0,
        spare: int = 2,
        drain_s: float = 10.0,
        reach: Reach | None = None,
        replicas: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._open_model = open_model
        self._released = released
        self._engine = engine
        self._options = options or Options()
        self._policy = policy or Policy()
        self._wait_s = wait_s
        self._spare = spare
        self._drain_s = drain_s
        self._reach = reach
        self._replicas = replicas
        self._environment = environment
        self._members: dict[str, Member] = {}
        self._opening: dict[str, asyncio.Task[Member]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def add(self, ref: str, folder: Path, engine: str = "auto", options: Options | None = None) -> None:
        """Serve the model in `folder` as `ref`; its engine starts now and is ready later. Again: no change."""
        if ref not in self._members:
            name = await asyncio.to_thread(choose_engine, folder, engine)
            self._enter(ref, name, folder, options or self._options)

    async def add_remote(
        self, ref: str, options: Options, *, model: str = "", destination: Destination = ELSEWHERE
    ) -> None:
        """Let another server answer for `ref`; `model` is the name it knows the model by."""
        if ref not in self._members:
            address = parts.load(ROOM, "remote").address(options, model=model)
            self._members[ref] = Remote(ref, "remote", address, destination)

    async def remove(self, ref: str) -> None:
        """Take no more calls for `ref`, let those under way finish, then end its engine."""
        names = [name for name in self._members if name.partition("#")[0] == ref]
        members = [self._members.pop(name) for name in names]
        await asyncio.gather(*(member.leave(self._drain_s) for member in members))

    async def ready(self, ref: str, timeout_s: float = 300.0) -> None:
        """Wait until `ref` can answer; raise `EngineError` when it cannot, or not in time."""
        deadline_s = time.monotonic() + timeout_s
        member = await self._member(ref, timeout_s)
        await member.upstream(max(0.0, deadline_s - time.monotonic()))

    def count(self, ref: str) -> int:
        """Return how many engines there are of `ref`, ready or not; 0: it was not asked for yet."""
        return sum(name.partition("#")[0] == ref for name in self._members)

    def is_remote(self, ref: str) -> bool:
        """Return whether another server answers for `ref`."""
        return isinstance(self._members.get(ref), Remote)

    def status(self) -> Mapping[str, EngineStatus]:
        """Return what is to be seen of each engine."""
        opening = {ref: EngineStatus(state="starting") for ref in self._opening}
        return opening | {ref: member.status for ref, member in self._members.items()}

    async def at(self, ref: str, port: int, state: str, timeout_s: float) -> EngineAt:
        """Return where the engine of `ref` or `ref#1` is, opened if need be, once that or its state is another."""
        try:
            first = await self._member(ref.partition("#")[0], timeout_s)
        except NotReadyError:
            return EngineAt(engine="", port=0, status=EngineStatus(state="starting"))
        member = self._members.get(ref, first)
        if not isinstance(member, Local):
            raise NotFoundError(f"{ref} is no engine of this machine")
        member.enter()
        try:
            port = await member.moved(port, state, timeout_s)
        finally:
            member.exit()
        return EngineAt(engine=member.engine, port=port, status=member.status)

    async def generate(self, call: EngineCall) -> EngineAnswer:
        """Return the answer of the engine of `call.ref`; cancelled or closed, the engine stops working on it.

        Raises `NotReadyError` while it is starting, `EngineError` when it cannot be reached or breaks off.
        """
        wait_s = self._wait_s if call.wait_s is None else call.wait_s
        member = self._members.get(call.ref) or await self._member(call.ref, wait_s)
        if call.replica:
            member = self._members.get(f"{call.ref}#{call.replica}", member)
        upstream = await member.upstream(wait_s)
        headers = (("x-request-id", call.request_id), *call.headers) if call.request_id else call.headers
        member.enter()
        traffic = Traffic(member.destination, member.address)
        call.traffic.append(traffic)
        try:
            response = await upstream.request("POST", call.path, member.addressed(call), headers, traffic=traffic)
        except BaseException:
            member.exit()
            raise
        return await answer_of(call, response, member)

    def link(self, ref: str) -> Link | None:
        """Return a kept connection to the engine of `ref`, None where one would have to be waited for."""
        member = self._members.get(ref)
        upstream = member.at_hand if member is not None else None
        if member is None or upstream is None:
            return None
        connection = upstream.kept()
        return Link(member, upstream, connection) if connection is not None else None

    async def close(self) -> None:
        """End everything; no engine process is left."""
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        await asyncio.gather(*(self.remove(ref) for ref in list(self._members)), *self._leaving)

    def _enter(self, ref: str, engine: str, folder: Path, options: Options) -> Member:
        if engine == "remote":
            raise ConfigError(f"{ref}: a model folder is never sent to a remote server; use add_remote")
        for name in self._names(ref):
            command = host_command(engine, folder, ref, options)
            supervisor = Supervisor(name, command, self._policy, self._environment)
            supervisor.start()
            self._members[name] = Local(ref, engine, supervisor)
        return self._members[ref]

    def _names(self, ref: str) -> list[str]:
        """Return under which names the engines of `ref` are known."""
        return [ref, *(f"{ref}#{number}" for number in range(1, self._replicas))]

    async def _member(self, ref: str, timeout_s: float) -> Member:
        """Return the member for `ref`, opening its model where that is allowed."""
        if ref in self._members:
            return self._members[ref]
        if self._open_model is None:
            raise NotFoundError(f"model version {ref} is not served here; served: {', '.join(self._members) or 'none'}")
        task = self._opening.get(ref)
        if task is None:
            task = self._opening[ref] = asyncio.create_task(self._open(ref, self._open_model))
            task.add_done_callback(lambda done: self._opened(ref, done))
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
        if not done:
            raise NotReadyError(f"model version {ref} is being opened; ask again in a moment", retry_after_s=1.0)
        return task.result()

    async def _open(self, ref: str, open_model: OpenModel) -> Member:
        if self._reach is not None:
            for name in self._names(ref):
                self._members[name] = Followed(ref, self._reach, name)
            self._sweep(ref)
            return self._members[ref]
        folder = await asyncio.to_thread(open_model, ref)
        name = await asyncio.to_thread(choose_for, folder, self._engine)
        member = self._enter(ref, name, folder, self._options)
        self._sweep(ref)
        return member

    def _opened(self, ref: str, task: asyncio.Task[Member]) -> None:
        self._opening.pop(ref, None)
        if not task.cancelled():
            task.exception()  # seen by those who waited; with none waiting it is not worth a warning

    def _sweep(self, newest: str) -> None:
        """End the least recently used engines that are neither released nor busy, but for `spare` of them."""
        stay = self._released() | {newest}
        busy = {member.ref for member in self._members.values() if not member.idle}
        idle = [member for name, member in self._members.items() if name not in stay | busy and "#" not in name]
        idle.sort(key=lambda member: member.used_s)
        for member in idle[: max(0, len(idle) - self._spare)]:
            task = asyncio.create_task(self.remove(member.ref))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
