"""What the parts log: to standard error, for people or as JSON lines, and never with a text of a caller in it."""

from __future__ import annotations

import sys
from typing import Any

import structlog

from tokenworks.core.errors import ConfigError
from tokenworks.core.faults import told, without_content


def log_to_stderr(form: str = "text") -> None:
    """Keep standard output for results; `form` is text or json."""
    if form not in ("text", "json"):
        raise ConfigError(f"telemetry.log = {form!r}: choose text or json")
    # structlog's own ways to show an exception print the variables of each frame: prompts, answers and keys.
    shown: list[Any] = (
        [structlog.processors.ExceptionRenderer(without_content), structlog.processors.JSONRenderer()]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=told)]
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
