"""What processes that serve another log of an exception that nobody expected."""

from __future__ import annotations

import subprocess
import sys

import pytest

BREAKS = """
import sys
import structlog

{first}

def breaks(prompt):
    raise ValueError(prompt)

try:
    breaks(sys.argv[1])
except ValueError:
    structlog.get_logger().exception("request failed")
"""
ENGINE = """
import contextlib
from tokenworks.serving import host
with contextlib.suppress(SystemExit):
    host.main(["--help"])
"""
TUNING = """
import contextlib, os
from tokenworks.factory.tuning import child
with contextlib.suppress(Exception):
    sys.argv[1:], kept = ["--home", "/dev/null/none", "--job", "x", "--for", str(os.getppid())], sys.argv[1:]
    child.main()
sys.argv[1:] = kept
"""


@pytest.mark.parametrize("first", [ENGINE, TUNING], ids=["engine", "tuning"])
def test_neither_the_variables_nor_the_words_of_an_unexpected_exception_are_logged(first: str) -> None:
    """A prompt in either would stand in the last words of an engine, and so in the log of the server."""
    words = [sys.executable, "-c", BREAKS.format(first=first), "marmalade"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert "request failed" in ended.stderr
    assert "ValueError" in ended.stderr
    assert "marmalade" not in ended.stderr + ended.stdout
