"""The cable to a server elsewhere is pulled in the middle of a stream: its caller hears of it, and others are answered.

The server elsewhere is a process in a network namespace; the gateway a real one on this side of the cable.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

import system.slow_server
from factory.platform_house import Server
from patience import until
from system.namespaces import Host, require_namespaces
from tokenworks.ledger.verify import verify

STALL_S = 1.0
pytestmark = [pytest.mark.xdist_group("chaos"), pytest.mark.timeout(240)]


class Routed(Server):
    """A server that asks the one behind the cable first, and its own engine where that does not answer."""

    model = ""

    def __init__(self, folder: Path, bases: list[Path], url: str) -> None:
        [base] = bases
        self.model = base.name
        self.toml = f"""
[server]
port = 0
[engines]
precision = "f32"
threads = 1
stall_s = {STALL_S}
[[engines.remotes]]
name = "far"
url = "{url}"
label = "confidential"
first_byte_s = 1.5
[routes.{base.name}]
order = ["far", "here"]
"""
        super().__init__(folder, bases)

    def ask(self, http: httpx.Client, **changes):
        """Return the status, the text, what ended it, and its entry."""
        body = {"model": self.model, "messages": [{"role": "user", "content": "go on"}], "max_tokens": 5}
        headers = {"authorization": f"Bearer {self.key}", "x-tokenworks-label": "public"}
        return http.stream("POST", f"{self.url}/v1/chat/completions", json=body | changes, headers=headers)

    def entry(self, request_id: str):
        [found] = until(lambda: [one for one in self.requests() if one.request_id == request_id], timeout_s=10)
        return found


@pytest.fixture(scope="module")
def far():
    require_namespaces()
    host = Host(7)
    command = [*host.under, sys.executable, system.slow_server.__file__, host.inside]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    host.url = f"http://{host.inside}:{int(process.stdout.readline())}/v1"
    yield host
    process.kill()
    process.communicate()
    host.close()


@pytest.fixture(scope="module")
def house(far, tmp_path_factory, make_llama):
    running = Routed(tmp_path_factory.mktemp("cut"), [make_llama()], far.url)
    yield running
    running.stop()


@pytest.fixture
def http():
    with httpx.Client(timeout=30) as client:
        yield client


def text_of(line: str) -> str:
    """Return the text in a line of a stream."""
    event = json.loads(line[6:]) if line.startswith("data: {") else {"choices": []}
    return "".join(one["delta"].get("content") or "" for one in event.get("choices", ()))


def answered_by(house, http) -> str:
    with house.ask(http) as answer:
        answer.read()
    return answer.headers.get("x-tokenworks-destination", "") if answer.status_code == 200 else ""


def test_a_stream_cut_off_from_its_server_ends_with_an_error_and_is_charged_for_what_came(house, far, http):
    until(lambda: answered_by(house, http) == "far")
    came = ""
    with house.ask(http, stream=True, max_tokens=500) as answer:
        lines = answer.iter_lines()
        while len(came.split()) < 5:
            came += text_of(next(lines))
        far.cut()
        cut_s = time.monotonic()
        try:
            rest = list(lines)
        finally:
            far.join()
    assert time.monotonic() - cut_s < 15 * STALL_S
    came += "".join(map(text_of, rest))
    said = [json.loads(line[6:]) for line in rest if line.startswith('data: {"error"')]
    assert [one["error"]["code"] for one in said] == ["engine_error"]
    entry = house.entry(answer.headers["x-request-id"])
    assert (entry.outcome, entry.completion_tokens) == ("failed", len(came.split()))
    assert not verify(house.home / "ledger").problems


def test_while_the_cable_is_out_others_are_answered_here_and_with_it_there_again(house, far, http):
    until(lambda: answered_by(house, http) == "far")
    far.cut()
    try:
        until(lambda: answered_by(house, http) == "here")
    finally:
        far.join()
    until(lambda: answered_by(house, http) == "far", timeout_s=90)
