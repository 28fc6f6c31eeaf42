"""PostgreSQL that says nothing is given up, also where its machine still takes what is sent: held, or without a disk.

libpq has a limit for connecting and one for bytes that nobody acknowledges; it has none for an answer that never comes.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from sqlalchemy import Engine, event

LOOK_S = 0.1


def give_up_after(engine: Engine, silence_s: float) -> None:
    """Let statements on `engine` fail once the server has said nothing for `silence_s`; their connection is closed."""
    import psycopg  # an extra; SQLAlchemy has loaded it for this engine

    class Connection(psycopg.Connection[Any]):
        """Waits for so long and no longer."""

        def wait(self, gen: Generator[Any, Any, Any], interval: float = LOOK_S, timeout: float | None = None) -> Any:
            """Return what `gen` comes to; raise `OperationalError` in time."""
            limits = {} if timeout is None else {"timeout": timeout}  # which only newer versions know
            return super().wait(_limited(self, gen, silence_s), min(interval, LOOK_S), **limits)

    def connect(dialect: Any, record: Any, words: list[Any], options: dict[str, Any]) -> Any:
        return Connection.connect(*words, **options)

    event.listen(engine, "do_connect", connect)


def _limited(connection: Any, gen: Generator[Any, Any, Any], silence_s: float) -> Generator[Any, Any, Any]:
    """Pass on what `gen` wants to wait for; nothing is ready (0) after each interval."""
    import psycopg

    heard_s = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > silence_s:
                connection.close()
                raise psycopg.OperationalError(f"the server has said nothing for {silence_s:g} s")
            wanted = gen.send(ready)
    except StopIteration as over:
        return over.value
