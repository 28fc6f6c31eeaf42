"""Meters of the same format as real ones, in folders and behind HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class Powercap:
    """A folder as /sys/class/powercap of a machine with some packages."""

    def __init__(self, root: Path, *, packages: int = 1, dram: bool = False) -> None:
        self.root = root
        for package in range(packages):
            self.zone(f"intel-rapl:{package}", f"package-{package}")
            self.zone(f"intel-rapl:{package}:0", "core")
            if dram:
                self.zone(f"intel-rapl:{package}:1", "dram")
        self.zone("intel-rapl-mmio:0", "package-0")
        self.zone("intel-rapl:9", "psys")
        (root / "intel-rapl").mkdir()  # the control type itself counts nothing

    def zone(self, name: str, label: str) -> None:
        (self.root / name).mkdir(parents=True)
        (self.root / name / "name").write_text(label + "\n")
        (self.root / name / "max_energy_range_uj").write_text("262143328850\n")
        self.count(name, 1.0)

    def count(self, zone: str, joules: float) -> None:
        """Let the counter of `zone` say so many joules."""
        (self.root / zone / "energy_uj").write_text(f"{round(joules * 1e6)}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    return Powercap(tmp_path / "powercap", packages=2, dram=True)


class Plug:
    """A meter behind HTTP: `says` is its next answer, by path."""

    def __init__(self) -> None:
        self.says: dict[str, object] = {}
        self.headers: dict[str, str] = {}
        self.status = 200
        plug = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                plug.headers = dict(self.headers)
                said = plug.says.get(self.path.split("?")[0])
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(plug.status if said is not None else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def vanish(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def plug() -> Iterator[Plug]:
    plug = Plug()
    yield plug
    plug.vanish()


@pytest.fixture
def new_powercap(tmp_path: Path) -> Callable[[str], Powercap]:
    return lambda name: Powercap(tmp_path / name)
