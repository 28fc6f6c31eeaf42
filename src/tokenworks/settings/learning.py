"""How models come about: the sections about the line and the flywheel."""

from __future__ import annotations

import msgspec


class LineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the line may use of this machine."""

    threads: int = 0  # 0: every core that this process may run on
    processes: int = 0  # ingest workers; 0: as many as threads
    memory_mb: int = 1024  # bound of one ingest worker
    watch_s: float = 60.0  # how often a server looks whether documents changed; 0: never


class FlywheelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a server keeps its tasks turning."""

    look_s: float = 5.0  # how often it looks what tasks ask for; 0: turns are run by hand
    gives_way: bool = True  # a turn gets only the time that nobody else wants; false: its fair share
