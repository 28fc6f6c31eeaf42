"""The gateways that benchmarks/peers.py compares: how each is installed, started, asked and measured."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).parent
GATEWAY_CORE, LOAD_CORE = 0, 1
MODEL = "model"
LITELLM = ["litellm[proxy]==1.106.2", "opentelemetry-sdk", "httptools", "uvloop", "granian"]
PORTKEY = "@portkey-ai/gateway@1.15.2"
QUESTION = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "You are a careful assistant. " * 30},
        {"role": "user", "content": "What is the answer?"},
    ],
    "max_tokens": 128,
    "temperature": 0,
}
NGINX = """worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 3600; client_body_temp_path {home}/b;
  proxy_temp_path {home}/p; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 4096; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
  }} }}
}}
"""
LITELLM_CONFIG = """model_list:
  - model_name: model
    litellm_params: {{model: openai/model, api_base: http://127.0.0.1:{upstream}/v1, api_key: none}}
general_settings: {{master_key: sk-benchmark}}
litellm_settings: {{telemetry: false}}
"""


@dataclass
class Side:
    """A gateway that runs on its core, or the upstream itself."""

    name: str
    port: int
    headers: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def processes(self) -> list[psutil.Process]:
        """Return its processes."""
        if self.process is None:
            return []
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def cpu_us(self) -> float:
        """Return the processor time that all its threads have used, as the scheduler counts it."""
        total = 0
        for process in self.processes():
            for thread in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
                with suppress(FileNotFoundError):
                    total += int(thread.read_text().split()[0])
        return total / 1e3

    def rss_mb(self) -> float:
        """Return the memory that its processes hold."""
        return sum(process.memory_info().rss for process in self.processes()) / 1e6

    def pause(self) -> None:
        """Let it stand still while another is measured."""
        for process in self.processes():
            process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run."""
        for process in self.processes():
            process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        for process in self.processes():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes():
            process.wait(20)


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def upstream(home: Path, *, chunks: int, every_ms: int) -> Side:
    """Compile and start the upstream on the core of the load."""
    program = home / "upstream"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("no C compiler: the upstream must not be the bottleneck, so it is written in C; install gcc")
    if not program.exists():
        subprocess.run([compiler, "-O2", "-o", str(program), str(HERE / "_peers_upstream.c")], check=True)
    port = free_port()
    process = _start([str(program), str(port), str(chunks), str(every_ms)], core=LOAD_CORE, log=home / "upstream.log")
    return _ready(Side("direct", port, process=process))


def tokenworks(home: Path, to: int, *words: str, name: str = "tokenworks") -> Side:
    """Start our own gateway with every duty on; `words` are more options of its program."""
    folder = home / name.replace(", ", "-").replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = [sys.executable, str(HERE / "_peers_start.py"), str(folder), f"http://127.0.0.1:{to}"]
    process = _start([*command, *words], core=GATEWAY_CORE, log=home / f"{folder.name}.log")
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    return _ready(Side(name, said["port"], {"authorization": f"Bearer {said['key']}"}, process))


def nginx(home: Path, to: int) -> Side | None:
    """Start nginx as a plain proxy, without any duty."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        return _missing("nginx", "the Debian package nginx-light")
    folder, port = home / "nginx", free_port()
    folder.mkdir(exist_ok=True)
    (folder / "nginx.conf").write_text(NGINX.format(home=folder, port=port, upstream=to))
    command = [program, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    return _ready(Side("nginx", port, process=_start(command, core=GATEWAY_CORE, log=home / "nginx.log")))


def litellm(home: Path, to: int) -> Side | None:
    """Start the LiteLLM proxy, tuned as its documentation says; install it in an environment of its own first."""
    environment, port = home / "litellm", free_port()
    if not (environment / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(environment / "bin" / "pip"), "install", "-q", *LITELLM], check=True)
    config = home / "litellm.yaml"
    config.write_text(LITELLM_CONFIG.format(upstream=to))
    told = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_TELEMETRY": "False",
        "PYTHONPATH": "",
    }
    command = [str(environment / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1", "--run_granian"]
    process = _start(command, core=GATEWAY_CORE, log=home / "litellm.log", environ=told)
    return _ready(Side("litellm", port, {"authorization": "Bearer sk-benchmark"}, process), wait_s=180)


def portkey(home: Path, to: int) -> Side | None:
    """Start Portkey's gateway, which checks no key and keeps no record; install it first."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return _missing("portkey", "the Debian packages nodejs and npm")
    folder, port = home / "portkey", free_port()
    program = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not program.exists():
        folder.mkdir(exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--no-audit", PORTKEY], cwd=folder, check=True)
    headers = {
        "authorization": "Bearer none",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{to}/v1",
    }
    command = ["node", str(program), f"--port={port}", "--headless"]
    told = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"}
    process = _start(command, core=GATEWAY_CORE, log=home / "portkey.log", environ=told)
    return _ready(Side("portkey", port, headers, process), wait_s=60)


def _start(
    command: list[str], *, core: int, log: Path, environ: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process on one core, its complaints going to a file."""
    with log.open("wb") as file:
        return subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if "_peers_start.py" in " ".join(command) else file,
            stderr=file,
            env=os.environ | (environ or {}),
        )


def _ready(side: Side, *, wait_s: float = 60) -> Side:
    """Return `side` once it answers the question rightly; exit where it never does."""
    until = time.monotonic() + wait_s
    last = ""
    while time.monotonic() < until:
        try:
            asked = urllib.request.Request(
                f"http://127.0.0.1:{side.port}/v1/chat/completions",
                data=json.dumps(QUESTION).encode(),
                headers={"content-type": "application/json", **side.headers},
            )
            with urllib.request.urlopen(asked, timeout=20) as answer:
                told = json.load(answer)
            if "forty two" in told["choices"][0]["message"]["content"]:
                return side
            last = str(told)[:200]
        except OSError as error:
            last = f"{error} {error.read()[:300]!r}" if isinstance(error, urllib.error.HTTPError) else str(error)
        time.sleep(0.3)
    side.close()
    sys.exit(f"{side.name} did not answer within {wait_s:g} s: {last}")


def _missing(name: str, what: str) -> None:
    print(f"{name} is left out: install {what}", file=sys.stderr)
