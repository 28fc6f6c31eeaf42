"""Ask a running server to replace its workers, and wait until it has."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec

from tokenworks.core.errors import ConfigError, EngineError
from tokenworks.factory.fleet import Standing, read_standing

PATIENCE_S = 300.0


def reload_running(home: Path, *, patience_s: float = PATIENCE_S) -> Standing:
    """Reload the server over `home`; return its new workers.

    Raises `ConfigError` where none runs with workers, and `EngineError` where the workers before stay.
    """
    before = read_standing(home)
    pid = _server(home)
    os.kill(pid, signal.SIGHUP)
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        now = read_standing(home)
        if now.reloads > before.reloads:
            if now.error:
                raise EngineError(f"the workers were not replaced, those before go on: {now.error}")
            return now
        time.sleep(0.05)
    raise EngineError(f"the server (process {pid}) has not reloaded in {patience_s:g} s; its log has the reason")


def _server(home: Path) -> int:
    try:
        pid = msgspec.json.decode((home / "address.json").read_bytes(), type=dict[str, msgspec.Raw])["pid"]
        number = msgspec.json.decode(pid, type=int)
        os.kill(number, 0)
    except (FileNotFoundError, ProcessLookupError):
        raise ConfigError(f"{home}: the server that left its workers here does not run; start it again") from None
    return number
