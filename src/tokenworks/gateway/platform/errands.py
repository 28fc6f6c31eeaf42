"""Work in the background, by the id of what it is done for. Knows nothing of what is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Errands:
    """What is under way, each id once. Belongs to one event loop; `begin` and `end` may be called from any thread."""

    def __init__(self, what: str, work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self._what, self._work = what, work
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, id: str) -> None:
        """Work on `id`, unless that is under way."""
        self._loop.call_soon_threadsafe(self.start, id)

    def end(self, id: str) -> None:
        """Stop the work on `id`, where there is any."""
        self._loop.call_soon_threadsafe(self._stop, id)

    def start(self, id: str) -> None:
        """Do as `begin` does, from the loop itself."""
        if id not in self._tasks:
            task = self._loop.create_task(self._work(id), name=f"{self._what} {id}")
            self._tasks[id] = task
            task.add_done_callback(lambda _: self._tasks.pop(id, None))

    async def close(self) -> None:
        """Stop everything."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop(self, id: str) -> None:
        if id in self._tasks:
            self._tasks[id].cancel()
