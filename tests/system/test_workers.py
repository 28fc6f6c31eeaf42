"""`tokenworks serve --workers 2`: real workers behind one port, with real clients, signals and kills."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time

import httpx
import openai
import psutil
import pytest

from system.crowd import ask_at_once
from system.processes import Running, gone, tokenworks
from tokenworks.core.label import Label
from tokenworks.factory import Factory
from tokenworks.factory.reloading import reload_running
from tokenworks.governance.limits import Limit, Subject
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(240)]
PROMPT, TOKENS = "def parse(", 4
CLAIM = len(PROMPT) + 2 + TOKENS
SETTINGS = "[server]\ndrain_s = 30.0\n"


class Served:
    """The server under test, with its settings file and what systemd would hear of it."""

    def __init__(self, folder, model):
        self.home, self.model = folder / "home", model.name
        self.config = folder / "tokenworks.toml"
        self.config.write_text(SETTINGS)
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(f"\0tokenworks-test-{os.getpid()}")
        self.systemd.settimeout(30)
        told = {"TOKENWORKS_CONFIG": str(self.config), "NOTIFY_SOCKET": f"@tokenworks-test-{os.getpid()}"}
        os.environ.update(told)
        try:
            self.running = Running(self.home, "serve", "--model", str(model), "--workers", "2")
        finally:
            for name in told:
                del os.environ[name]
        self.running.until(r'"model":"' + self.model)
        self.url, self.key = self.running.url, self.running.key
        with self.http() as client:
            while self.ask(client).status_code != 200:  # its engine starts
                time.sleep(0.2)

    def heard(self):
        """Return the next word to systemd."""
        return self.systemd.recv(200).decode().splitlines()[0]

    def hears(self, *words):
        """Wait for `words` in this order; a worker that was replaced meanwhile says READY=1 once more."""
        for word in words:
            while (heard := self.heard()) != word:
                assert heard == "READY=1"

    def pids(self):
        return [one["pid"] for one in json.loads((self.home / "workers.json").read_text())["workers"]]

    def http(self, **options):
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=60, **options)

    def limit(self, factory, tenant, **bounds):
        factory.limits.set(Limit(subject=Subject(tenant=tenant), **bounds))
        time.sleep(1.2)  # in force within a second

    def ask(self, client, **changes):
        body = {"model": self.model, "prompt": PROMPT, "max_tokens": TOKENS, "ignore_eos": True} | changes
        return client.post("/v1/completions", json=body)

    def respond(self, body):
        with self.http() as client:
            return client.post("/v1/responses", json=body).raise_for_status().json()

    def responded(self, path, method="GET"):
        with self.http() as client:
            return client.request(method, f"/v1/responses/{path}").raise_for_status().json()

    def stream(self, client, tokens):
        """Yield the pieces of a stream; it must end as streams do."""
        body = {"model": self.model, "prompt": PROMPT, "max_tokens": tokens, "ignore_eos": True, "stream": True}
        body["stream_options"] = {"include_usage": True}
        with client.stream("POST", "/v1/completions", json=body) as answer:
            assert answer.status_code == 200, answer.read()
            lines = []
            for line in filter(None, answer.iter_lines()):
                lines.append(line)
                yield line
            assert lines[-1] == "data: [DONE]"
            assert json.loads(lines[-2][6:])["usage"]["completion_tokens"] == tokens


@pytest.fixture(scope="module")
def served(make_llama, tmp_path_factory):
    """A server with two workers."""
    found = Served(tmp_path_factory.mktemp("workers"), make_llama(max_position_embeddings=8192))
    yield found
    if found.running.process.poll() is None:
        found.running.kill()
    found.running.process.stdout.close()
    found.systemd.close()


def until_counted(served, least):
    """Wait until /metrics of whichever worker says how many requests all of them have answered."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with served.http() as client:
            lines = client.get("/metrics").text.splitlines()
        counts = [line for line in lines if line.startswith("tokenworks_requests_total") and 'status="200"' in line]
        if sum(float(line.rpartition(" ")[2]) for line in counts if "completions" in line) >= least:
            return
        time.sleep(0.2)
    raise AssertionError(counts)


def test_systemd_is_told_when_the_workers_serve(served):
    assert served.heard() == "READY=1"
    assert len(set(served.pids())) == 2


def test_of_1000_requests_through_two_workers_exactly_those_within_the_budget_are_served(served):
    with Factory(home=served.home) as factory:
        key = factory.new_key("crowd", tenant="crowd", clearance=Label.RESTRICTED)
        with httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
            cost = served.ask(client).json()["usage"]["total_tokens"]
        served.limit(factory, "crowd", tokens_per_day=100 * cost + CLAIM - 1)
    body = {"model": served.model, "prompt": PROMPT, "max_tokens": TOKENS, "ignore_eos": True}
    answers = asyncio.run(ask_at_once(served.url, key, body, 1000))
    found = [body for status, body in answers if status == 200]
    refused = [body["error"]["code"] for status, body in answers if status != 200]
    assert len(found) == 99  # one was asked before
    assert refused == ["insufficient_quota"] * 901
    with Factory(home=served.home) as factory:
        (shown,) = factory.limit_standings()
        asked = {
            place.writer
            for place, entry in read(served.home / "ledger")
            if isinstance(entry, RequestEntry) and entry.tenant == "crowd"
        }
        assert len(asked) == 2  # both workers were asked
    until_counted(served, 100)
    assert shown.spent_today == 100 * cost == cost + sum(body["usage"]["total_tokens"] for body in found)


def test_a_reload_drops_no_stream_and_refuses_no_connection(served):
    before, stop, failures, counts = served.pids(), threading.Event(), [], [0, 0]

    def ask_on():
        with served.http() as client:
            while not stop.is_set():
                try:
                    answer = served.ask(client)
                    if answer.status_code != 200:
                        failures.append(answer.text)
                    counts[0] += 1
                    time.sleep(0.02)
                except httpx.HTTPError as error:
                    failures.append(repr(error))

    def ask_anew():
        while not stop.is_set():
            with served.http() as client:
                try:
                    failures.extend([] if served.ask(client).status_code == 200 else ["refused"])
                except httpx.HTTPError as error:
                    failures.append(repr(error))
            time.sleep(0.05)

    def stream_on():
        while not stop.is_set():
            with served.http() as client:
                try:
                    counts[1] += sum(1 for _ in served.stream(client, 400)) > 0
                    time.sleep(0.05)
                except (httpx.HTTPError, AssertionError) as error:
                    failures.append(repr(error))

    asking = [threading.Thread(target=work) for work in (ask_on, ask_anew, stream_on)]
    for thread in asking:
        thread.start()
    served.config.write_text(SETTINGS + "max_body_mb = 0.001\n")
    assert [one.pid for one in reload_running(served.home).workers] == served.pids()
    assert served.heard() == "RELOADING=1"
    assert served.heard() == "READY=1"
    stop.set()
    for thread in asking:
        thread.join()
    assert failures == []
    assert min(counts) > 3
    assert not set(before) & set(served.pids())
    with served.http() as client:
        assert served.ask(client, prompt="x" * 2000).status_code == 413  # the new settings
    assert gone([psutil.Process(pid) for pid in before if psutil.pid_exists(pid)])


def test_settings_that_cannot_be_meant_replace_nobody(served):
    before = served.pids()
    served.config.write_text(SETTINGS + "max_boddy_mb = 1\n")
    done = tokenworks(served.home, "serve", "--reload")
    assert done.returncode != 0
    assert "max_boddy_mb" in done.stderr
    assert served.pids() == before
    served.hears("RELOADING=1", "READY=1")
    served.config.write_text(SETTINGS)
    with served.http() as client:
        assert served.ask(client).status_code == 200


def test_a_killed_worker_is_replaced_and_what_it_held_is_given_back(served):
    with Factory(home=served.home) as factory:
        served.limit(factory, "default", concurrency=1)
    first, second = served.pids()
    with served.http() as client:
        pieces = served.stream(client, 5000)
        next(pieces)
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGKILL)  # one of them held the only place
        with pytest.raises(httpx.HTTPError):
            list(pieces)
    answer = openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=5).completions.create(
        model=served.model, prompt=PROMPT, max_tokens=TOKENS
    )
    assert answer.usage.total_tokens > 0
    deadline = time.monotonic() + 60
    while {first, second} & set(served.pids()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not {first, second} & set(served.pids())
    with Factory(home=served.home) as factory:
        factory.limits.drop(Subject(tenant="default"))


def test_a_batch_that_a_worker_takes_is_run(served):
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=5)
    lines = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/completions",
         "body": {"model": served.model, "prompt": PROMPT, "max_tokens": 2}}
        for n in range(5)
    ]  # fmt: skip
    data = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("asked.jsonl", data), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    deadline = time.monotonic() + 30
    while batch.status != "completed" and time.monotonic() < deadline:
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert batch.request_counts.completed == 5


def test_background_responses_that_workers_accept_are_answered_and_cancelled_through_any_of_them(served):
    asked = {"model": served.model, "input": "how do I", "background": True}
    short, long = {**asked, "max_output_tokens": 4, "temperature": 0.0}, {**asked, "max_output_tokens": 4000}
    ids = [served.respond(short)["id"] for _ in range(6)]  # over new connections: of both workers
    until = time.monotonic() + 60
    while any(served.responded(id)["status"] in ("queued", "in_progress") for id in ids):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert len({json.dumps(served.responded(id)["output"][0]["content"]) for id in ids}) == 1
    for _ in range(30):  # until one is still under way when it is cancelled: an answer may end early
        gone = served.respond(long)["id"]
        with served.http() as client:
            cancelled = client.post(f"/v1/responses/{gone}/cancel")
        if cancelled.status_code == 200:
            break
    assert cancelled.json()["status"] == "cancelled"
    assert served.responded(gone)["status"] == "cancelled"


def test_sigterm_lets_answers_end_says_so_and_leaves_nothing(served):
    tree = served.running.tree()
    with served.http() as client, served.http() as other:
        assert other.get("/readyz").status_code == 200
        pieces = served.stream(client, 2500)
        next(pieces)
        served.running.process.send_signal(signal.SIGTERM)
        served.hears("STOPPING=1")
        deadline, states = time.monotonic() + 60, set()
        while "draining" not in states and time.monotonic() < deadline:
            with served.http() as probe:
                states.add(probe.get("/readyz").json()["status"])
        assert "draining" in states
        assert other.get("/readyz").status_code == 503
        assert served.ask(other).status_code == 503
        assert sum(1 for _ in pieces) > 0
    assert served.running.process.wait(30) == 0
    assert gone(tree)
    assert tokenworks(served.home, "ledger", "verify").returncode == 0
    done = tokenworks(served.home, "serve", "--reload")
    assert done.returncode == 2
    assert "no server with workers runs here" in done.stderr
