"""What is logged of an exception: where it happened and of what kind it is, and nobody's text."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TextIO

import structlog

from tokenworks.core.errors import TokenworksError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def log_without_content() -> None:
    """Have a process that serves another log to standard error, which that other keeps the end of."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=told)
    shown: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        renderer,
    ]
    structlog.configure(processors=shown, logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def told(stream: TextIO, info: ExcInfo) -> None:
    """Write what `without_content` returns: structlog by itself prints the variables of each frame: prompts, keys."""
    stream.write("\n" + without_content(info))


def without_content(exc_info: ExcInfo) -> str:
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
