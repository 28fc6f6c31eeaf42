"""What the parts log: to standard error, for people or as JSON lines, and never with a text of a caller in it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TextIO

import structlog

from tokenworks.core.errors import ConfigError, TokenworksError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def log_to_stderr(form: str = "text") -> None:
    """Keep standard output for results; `form` is text or json."""
    if form not in ("text", "json"):
        raise ConfigError(f"telemetry.log = {form!r}: choose text or json")
    # structlog's own ways to show an exception print the variables of each frame: prompts, answers and keys.
    shown: list[Any] = (
        [structlog.processors.ExceptionRenderer(_without_content), structlog.processors.JSONRenderer()]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_print)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *shown,
        ],
        # Looked up at each line: what standard error is may change under a test or a supervisor, and be closed.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def _print(stream: TextIO, info: ExcInfo) -> None:
    stream.write("\n" + _without_content(info))


def _without_content(exc_info: ExcInfo) -> str:
    """Return where it happened and what kind of error it is; of its words only those that are ours."""
    lines = []
    for error in _chain(exc_info[1]):
        lines += traceback.format_tb(error.__traceback__)
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        lines.append(f"{kind}: {error}\n" if isinstance(error, TokenworksError) else f"{kind}\n")
    return "".join(lines).rstrip("\n")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield what led to `error`, the first cause first."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _chain(before)
    yield error
