"""The engine process: load one model, speak the OpenAI protocol on loopback, and never outlive the parent.

    python -m tokenworks.serving.host --engine NAME --folder DIR --name MODEL [--port 0] [--options JSON] [--drain-s 10]

Prints one line of JSON on standard output when it is ready, everything else on standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import stat
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import msgspec
import uvicorn

from tokenworks import parts
from tokenworks.core.errors import EngineError, TokenworksError
from tokenworks.core.faults import log_without_content
from tokenworks.core.loop import new_loop
from tokenworks.core.process import die_with, yield_as_parent
from tokenworks.core.structs import prepare
from tokenworks.metering.attribution.account import open_account
from tokenworks.serving.app import EngineApp
from tokenworks.serving.choose import ROOM, choose_engine
from tokenworks.serving.engine import Engine, Options

if TYPE_CHECKING:
    from tokenworks.serving.tracing.spans import EngineTraces

FAREWELL_S = 1.0  # how long a dead engine still says so on /health


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The line that says where the engine listens."""

    port: int
    pid: int
    engine: str
    does: list[str]
    load_s: float


def main(arguments: list[str] | None = None) -> int:
    """Run the process; return its exit code: 0 after SIGTERM, else that of the error."""
    follow_parent()
    yield_as_parent()
    log_without_content()
    options = _arguments(arguments)
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(_serve(options))
    except TokenworksError as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return error.exit_code


def follow_parent() -> None:
    """Arrange to die with the parent: by the kernel's signal on Linux, and by the end of standard input anywhere."""
    die_with(os.getppid())
    if stat.S_ISFIFO(os.fstat(0).st_mode) or stat.S_ISSOCK(os.fstat(0).st_mode):
        threading.Thread(target=_exit_at_end_of_input, name="follow-parent", daemon=True).start()


def _exit_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)  # whoever asked for the answers is gone: there is nothing to drain


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tokenworks.serving.host", description="Serve one model on loopback.")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--folder", type=Path, default=Path("."))
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--options", default="{}", help="JSON of serving.engine.Options")
    parser.add_argument("--drain-s", type=float, default=10.0)
    return parser.parse_args(arguments)


async def _serve(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    options = _options(arguments.options)
    name = choose_engine(arguments.folder, arguments.engine)
    account = open_account(options.meter)
    engine: Engine = parts.load(ROOM, name).load(arguments.folder, options)
    traces = _traces(options, arguments.name, name)
    prepare()
    app = EngineApp(engine, arguments.name, account, traces)
    listener = _listen(arguments.port)
    server = _Server(app, arguments.drain_s)
    server.ready = Ready(
        port=listener.getsockname()[1],
        pid=os.getpid(),
        engine=name,
        does=sorted(engine.does),
        load_s=round(time.monotonic() - started, 3),
    )
    watch = asyncio.create_task(_stop_when_dead(app, server))
    try:
        await server.serve(sockets=[listener])
    finally:
        watch.cancel()
        await engine.close()
        account.close()
        if traces is not None:
            await traces.close()
    return EngineError.exit_code if app.died.is_set() else 0


def _traces(options: Options, model: str, engine: str) -> EngineTraces | None:
    """Return what traces this process, None where nobody wants to know."""
    if not options.otlp_endpoint:
        return None
    from tokenworks.serving.tracing.spans import open_traces  # not at the top: it loads OpenTelemetry

    # That a collector is gone is said by the gateway; here it would push out the last words of an engine that fails.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    return open_traces(options, model, engine)


def _options(text: str) -> Options:
    try:
        return msgspec.json.decode(text.encode(), type=Options)
    except msgspec.MsgspecError as error:
        raise EngineError(f"--options: {error}; give the JSON of serving.engine.Options") from None


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise EngineError(f"port {port} is not free ({error.strerror}); choose another, or 0 for any") from None
    return listener


async def _stop_when_dead(app: EngineApp, server: _Server) -> None:
    await app.died.wait()
    await asyncio.sleep(FAREWELL_S)
    server.should_exit = True


class _Server(uvicorn.Server):
    """Uvicorn that says on standard output when it listens. SIGTERM lets running answers end within the limit."""

    ready: Ready

    def __init__(self, app: EngineApp, drain_s: float) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            http="httptools",
            ws="none",
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(drain_s)),
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second; unlike uvicorn's own, do not die of it afterwards."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            sys.stdout.buffer.write(msgspec.json.encode(self.ready) + b"\n")
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
