"""The engine process, real: the official client against it, and every way in which it must end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

openai = pytest.importorskip("openai")
pytest.importorskip("openvino_genai")
TALK = [{"role": "user", "content": "Hello"}]


class Host:
    """A running engine process."""

    def __init__(self, folder: Path, *arguments: str, engine: str = "auto") -> None:
        command = [sys.executable, "-m", "tokenworks.serving.host", "--folder", str(folder), "--name", "tiny"]
        self.process = subprocess.Popen(
            [*command, "--engine", engine, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.ready: dict[str, Any] = json.loads(line) if line else {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ready['port']}"

    def client(self) -> Any:
        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=30)

    def post(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(self.url + path, body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "/health", timeout=60) as response:
            found: dict[str, Any] = json.loads(response.read())
            return found

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def running(folder: Path, *arguments: str, engine: str = "auto") -> Iterator[Host]:
    host = Host(folder, *arguments, engine=engine)
    try:
        yield host
    finally:
        host.end()


@pytest.fixture(scope="module")
def host(tiny_llama: Path) -> Iterator[Host]:
    with running(tiny_llama) as started:
        yield started


def gone(pid: int, within_s: float = 10.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def open_stream(host: Host, max_tokens: int = 250) -> socket.socket:
    fields = {"prompt": "x", "max_tokens": max_tokens, "stream": True, "ignore_eos": True, "temperature": 0}
    body = json.dumps(fields).encode()
    connection = socket.create_connection(("127.0.0.1", host.ready["port"]), timeout=30)
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_the_ready_line_says_what_is_needed(host: Host) -> None:
    assert host.ready["pid"] == host.process.pid
    assert host.ready["does"] == ["chat.completions", "completions"]
    assert host.ready["engine"] == "openvino"
    assert host.health()["status"] == "ok"


def test_the_official_client_gets_a_chat_answer(host: Host) -> None:
    answer = host.client().chat.completions.create(
        model="tiny",
        messages=TALK,
        max_completion_tokens=6,
        n=2,
        seed=1,
        logprobs=True,
        extra_body={"ignore_eos": True},
    )
    assert answer.id.startswith("chatcmpl-")
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    assert answer.usage.completion_tokens == 12
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert len(answer.choices[0].logprobs.content) == 6
    assert answer.choices[0].logprobs.content[0].logprob < 0


def test_a_stream_is_the_same_text_and_ends_with_usage(host: Host) -> None:
    asked = {"model": "tiny", "messages": TALK, "max_tokens": 60, "temperature": 0}
    whole = host.client().chat.completions.create(**asked)
    events = list(host.client().chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert events[0].choices[0].delta.role == "assistant"
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert text == whole.choices[0].message.content
    assert [event.choices[0].finish_reason for event in events if event.choices][-1] == whole.choices[0].finish_reason
    counts = {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"}
    assert events[-1].usage.model_dump(include=counts) == whole.usage.model_dump(include=counts)


def test_usage_says_what_the_engine_spent_and_no_joules_where_nobody_meters(host: Host) -> None:
    asked = {"model": "tiny", "prompt": "the", "max_tokens": 20, "extra_body": {"ignore_eos": True}}
    began_s = time.monotonic()
    whole = host.client().completions.create(**asked).usage.model_dump()["spent"]
    assert 0 < whole.pop("engine_s") < time.monotonic() - began_s
    assert whole == {}
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = host.client().completions.create(**asked, stream=True, stream_options=options)
    spent_s = [event.usage.model_dump()["spent"]["engine_s"] for event in stream]
    assert spent_s == sorted(spent_s)
    assert spent_s[0] > 0


def test_completions_take_several_prompts_and_give_logprobs(host: Host) -> None:
    answer = host.client().completions.create(
        model="tiny", prompt=["the", "for"], max_tokens=5, n=2, logprobs=0, extra_body={"ignore_eos": True}
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    logprobs = answer.choices[3].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 5
    stream = host.client().completions.create(model="tiny", prompt=["the", "for"], max_tokens=5, stream=True)
    assert {event.choices[0].index for event in stream} == {0, 1}


def test_usage_so_far_comes_with_every_piece_where_asked(host: Host) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = host.client().completions.create(
        model="tiny", prompt="the", max_tokens=40, stream=True, stream_options=options, extra_body={"ignore_eos": True}
    )
    counts = [event.usage.completion_tokens for event in stream]
    assert counts == sorted(counts)
    assert counts[-1] == 40


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"temperature": -1}, 400, "temperature"),
        ({"max_tokens": 100_000}, 400, "max_tokens"),
        ({"temprature": 1}, 400, "temprature"),
        ({"prompt": "x " * 5000}, 400, "prompt"),
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": [1, 2]}, 400, "prompt"),
        ({"prompt": "x" * 10_000_000}, 400, "prompt"),
        ({"logprobs": 3}, 400, "logprobs"),
    ],
)
def test_a_bad_request_names_its_field(fields: dict[str, Any], status: int, param: str, host: Host) -> None:
    found, body = host.post("/v1/completions", json.dumps({"prompt": "x", **fields}).encode())
    assert (found, body["error"]["param"]) == (status, param)
    assert body["error"]["type"] == "invalid_request_error"


def test_malformed_bodies_and_wrong_paths_are_answered_and_the_server_stays_up(host: Host) -> None:
    assert host.post("/v1/completions", b"{")[0] == 400
    assert host.post("/v1/completions", b'{"prompt":"x","temperature":NaN}')[1]["error"]["param"] == "temperature"
    assert host.post("/v1/completions", b"[" * 200_000)[0] == 400
    assert host.post("/v1/completions", b"x" * (33 << 20))[0] == 413
    assert host.post("/v1/nothing", b"{}")[0] == 404
    assert host.post("/v1/embeddings", b'{"input":"x"}')[1]["error"]["code"] == "model_not_capable"
    assert host.health()["status"] == "ok"


def test_a_schema_that_is_none_is_the_callers_error(host: Host) -> None:
    for schema in ({"type": "no such type"}, {"$ref": "#/nowhere"}, {"type": "string", "pattern": "["}):
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        status, body = host.post("/v1/completions", json.dumps({"prompt": "x", "response_format": form}).encode())
        assert (status, body["error"]["param"]) == (400, "response_format")
    form["json_schema"] = {"name": "a", "schema": {"enum": ["yes", "no"]}}
    fields = {"prompt": "x", "response_format": form, "max_tokens": 30, "temperature": 0}
    answer = host.post("/v1/completions", json.dumps(fields).encode())[1]["choices"][0]
    assert (json.loads(answer["text"]) in {"yes", "no"}, answer["finish_reason"]) == (True, "stop")
    assert host.health()["status"] == "ok"


def test_clients_that_leave_free_their_places(host: Host) -> None:
    for connection in [open_stream(host) for _ in range(8)]:
        connection.recv(100)
        connection.close()
    end = time.monotonic() + 60
    while host.health()["in_flight"] and time.monotonic() < end:
        time.sleep(0.02)
    assert host.health()["in_flight"] == 0
    assert host.client().completions.create(model="tiny", prompt="the", max_tokens=3).choices


def test_thirty_two_answers_at_once(host: Host) -> None:
    def ask(seed: int) -> str:
        answer = host.client().completions.create(
            model="tiny", prompt="the", max_tokens=20, seed=seed % 4, extra_body={"ignore_eos": True}
        )
        return str(answer.choices[0].text)

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(32)))
    assert len(answers) == 32


def test_no_torch_in_the_process_and_quick_to_start(tiny_llama: Path) -> None:
    code = (
        "import sys, threading, json; from tokenworks.serving import host\n"
        "threading.Timer(0, lambda: None)\n"
        "from tokenworks import parts; from pathlib import Path; from tokenworks.serving.engine import Options\n"
        f"parts.load(host.ROOM, 'openvino').load(Path({str(tiny_llama)!r}), Options())\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sigterm_lets_a_running_answer_end(tiny_llama: Path) -> None:
    with running(tiny_llama) as host:
        connection = open_stream(host)
        received = connection.recv(100)
        host.process.send_signal(signal.SIGTERM)
        while part := connection.recv(65536):
            received += part
        assert b"data: [DONE]" in received
        assert host.process.wait(60) == 0


def test_it_ends_with_its_standard_input(tiny_llama: Path) -> None:
    with running(tiny_llama) as host:
        assert host.process.stdin is not None
        host.process.stdin.close()
        assert host.process.wait(60) == 1
        host.process.stdin = None


def test_it_dies_when_its_parent_is_killed(tiny_llama: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "keep = open('/dev/zero')\n"  # no end of standard input to help: the kernel's signal alone must do
        "command = [sys.executable, '-m', 'tokenworks.serving.host', '--folder', sys.argv[1], '--name', 'm']\n"
        "child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode(), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tiny_llama)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = json.loads(parent.stdout.readline())["pid"]
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    assert gone(pid)


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        ("pytorch_model.bin", "is a pickle"),
        ("tokenizer.json", "no tokenizer.json"),
        ("config.json", "no engine serves"),
    ],
)
def test_a_bad_folder_ends_the_start_with_one_line_and_exit_code_5(
    breaks: str, words: str, tiny_llama: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    if (folder / breaks).exists():
        (folder / breaks).unlink()
    else:
        (folder / breaks).write_bytes(b"\x80")
    command = [sys.executable, "-m", "tokenworks.serving.host", "--folder", str(folder), "--name", "m"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 5
    assert done.stdout == ""
    assert done.stderr.startswith("EngineError: ")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_wrong_options_and_a_taken_port_are_named(tiny_llama: Path) -> None:
    command = [sys.executable, "-m", "tokenworks.serving.host", "--folder", str(tiny_llama), "--name", "m"]
    wrong = subprocess.run([*command, "--options", "{"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (wrong.returncode, "--options" in wrong.stderr) == (5, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        busy = subprocess.run([*command, "--port", port], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (busy.returncode, f"port {port} is not free" in busy.stderr) == (5, True)


def test_the_host_serves_an_encoder(tiny_bert: Path) -> None:
    with running(tiny_bert) as host:
        answer = host.client().embeddings.create(model="tiny", input=["the card", "help"])
        assert [len(entry.embedding) for entry in answer.data] == [32, 32]
        plain = host.client().embeddings.create(model="tiny", input="the card", encoding_format="float")
        assert plain.data[0].embedding == pytest.approx(answer.data[0].embedding, abs=1e-2)
        assert answer.usage.prompt_tokens > 0
        assert host.post("/v1/completions", b'{"prompt":"x"}')[1]["error"]["code"] == "model_not_capable"


def test_an_engine_answers_and_ends_where_nobody_takes_its_spans(tiny_llama: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    options = json.dumps({"otlp_endpoint": f"http://127.0.0.1:{port}/v1/traces", "otlp_service": "engine"})
    with running(tiny_llama, "--options", options) as started:
        request = urllib.request.Request(started.url + "/v1/completions", b'{"prompt": "the", "max_tokens": 3}')
        request.add_header("traceparent", f"00-{'1' * 32}-{'2' * 16}-01")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.loads(answer.read())["usage"]["completion_tokens"] > 0
        started.process.terminate()
        assert started.process.wait(60) == 0
        assert started.process.stderr is not None
        assert started.process.stderr.read() == b""  # no complaint covers the last words of an engine that fails
