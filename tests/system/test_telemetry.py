"""What is to be seen of a running server: traces in a collector, figures, logs without content, `top`."""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer

import openai
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy_files import DASHBOARD, metrics_in
from patience import until
from system.collector import Collector, attributes
from system.far_server import Chat
from system.processes import Running, tokenworks, until_ready

pytestmark = pytest.mark.xdist_group("telemetry")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


class Elsewhere(Chat):
    """The far server, which also keeps the headers that it was sent."""

    heard: list[dict[str, str]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        """Answer, and remember."""
        self.heard.append({name.lower(): value for name, value in self.headers.items()})
        super().do_POST()


class Site:
    """A running server, its collector, a server elsewhere, and every line that it logs."""

    def __init__(self, running: Running, model: str, collector: Collector) -> None:
        self.running, self.model, self.collector = running, model, collector
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        self.lines.extend(self.running.process.stdout)

    def close(self) -> None:
        self._reader.join()
        self.running.process.stdout.close()

    def client(self, key: str = "") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.running.url}/v1", api_key=key or self.running.key, max_retries=0)

    def ask(self, model: str, text: str, *, trace: str = "", stream: bool = False, key: str = "") -> object:
        headers = {"x-tokenworks-label": "public"}
        if trace:
            headers["traceparent"] = f"00-{trace}-{CALLER}-01"
        messages = [{"role": "user", "content": text}]
        client = self.client(key)
        try:
            answer = client.chat.completions.create(
                model=model, messages=messages, max_tokens=8, stream=stream, extra_headers=headers
            )
            return list(answer) if stream else answer
        except openai.APIError as error:
            return error
        finally:
            client.close()

    def figures(self) -> str:
        with urllib.request.urlopen(f"{self.running.url}/metrics") as answer:
            return answer.read().decode()


@pytest.fixture(scope="module")
def site(make_llama, tmp_path_factory):
    folder, collector = make_llama(), Collector()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENWORKS_ENGINES__REMOTE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        patch.setenv("TOKENWORKS_TELEMETRY__OTLP_ENDPOINT", collector.url)
        patch.setenv("TOKENWORKS_TELEMETRY__OTLP_HEADERS", "x-collector=let-me-in")
        patch.setenv("TOKENWORKS_TELEMETRY__LOG", "json")
        patch.setenv("TOKENWORKS_METER__SOURCE", "model")
        patch.setenv("TOKENWORKS_METER__IDLE_W", "20")
        patch.setenv("TOKENWORKS_METER__BUSY_W", "65")
        running = Running(tmp_path_factory.mktemp("seen") / "home", "serve", "--model", str(folder))
    running.until(folder.name)
    until_ready(running.url, f"{folder.name}@1")
    opened = Site(running, folder.name, collector)
    yield opened
    running.process.terminate()
    running.process.wait(60)
    opened.close()
    server.shutdown()
    server.server_close()
    collector.close()


def test_a_trace_runs_from_the_caller_through_the_gateway_to_the_server_that_answers(site):
    site.ask("remote", "a very private question", trace=TRACE, stream=True)
    heard = Elsewhere.heard[-1]["traceparent"].split("-")
    spans = site.collector.trace(TRACE, spans=4)
    root, call, wait, record = (spans[name] for name in ("server", "client", "wait for an engine", "record"))
    assert root.parent_span_id.hex() == CALLER
    assert {call.parent_span_id, wait.parent_span_id, record.parent_span_id} == {root.span_id}
    assert heard == ["00", TRACE, call.span_id.hex(), "01"]
    assert root.start_time_unix_nano <= wait.end_time_unix_nano <= call.start_time_unix_nano
    assert call.end_time_unix_nano <= record.end_time_unix_nano <= root.end_time_unix_nano
    (first,) = call.events
    assert first.name == "first token"
    assert call.start_time_unix_nano < first.time_unix_nano <= call.end_time_unix_nano
    assert site.collector.headers["tokenworks"]["x-collector"] == "let-me-in"
    said = attributes(root)
    assert said["tokenworks.tenant"] not in ("", "default")
    assert {key: value for key, value in said.items() if key.startswith("gen_ai") or key == "tokenworks.label"} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "remote",
        "gen_ai.response.model": "remote@0",
        "gen_ai.provider.name": "remote",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "tokenworks.label": "public",
    }
    assert attributes(call)["server.address"] == "127.0.0.1"
    assert attributes(call)["gen_ai.usage.output_tokens"] == 3
    assert (root.name, call.name) == ("chat remote", "chat remote")


@pytest.mark.parametrize(
    ("model", "text", "error", "spans"),
    [
        ("remote", "break", "engine_error", 4),
        ("a-secret-name", "hello", "model_not_found", 2),
    ],
)
def test_what_failed_says_why_on_its_trace_and_no_text_is_ever_told(site, model, text, error, spans):
    trace = f"{abs(hash((model, text))) + 1:032x}"
    assert isinstance(site.ask(model, text, trace=trace), openai.APIError)
    found = site.collector.trace(trace, spans=spans)
    root = found["server"]
    assert attributes(root)["error.type"] == error
    assert root.status.code == 2
    assert ("client" in found) == (spans == 4)
    for content in (b"private", b"far away", b"a-secret-name", site.running.key.encode()):
        assert content not in site.collector.raw


@pytest.mark.parametrize("stream", [False, True])
def test_the_trace_goes_on_in_the_engine_with_its_queue_its_prompt_and_its_answer(site, stream):
    trace = f"{1 + stream:032x}"
    site.ask(site.model, "hello", trace=trace, stream=stream)
    spans = site.collector.trace(trace, spans=8)
    call, engine = spans["client"], spans["engine"]
    assert engine.parent_span_id == call.span_id
    assert call.start_time_unix_nano <= engine.start_time_unix_nano
    queue, prefill, decode = (spans[name] for name in ("queue", "prefill", "decode"))
    assert {queue.parent_span_id, prefill.parent_span_id, decode.parent_span_id} == {engine.span_id}
    assert engine.start_time_unix_nano == queue.start_time_unix_nano
    assert queue.end_time_unix_nano == prefill.start_time_unix_nano < prefill.end_time_unix_nano
    assert prefill.end_time_unix_nano == decode.start_time_unix_nano < decode.end_time_unix_nano
    assert decode.end_time_unix_nano <= engine.end_time_unix_nano
    told, made = attributes(call), attributes(engine)
    assert told["gen_ai.response.model"] == made["gen_ai.response.model"] == f"{site.model}@1"
    assert told["gen_ai.usage.input_tokens"] == made["gen_ai.usage.input_tokens"] > 0
    assert told["gen_ai.usage.output_tokens"] == made["gen_ai.usage.output_tokens"] > 0
    assert made["gen_ai.provider.name"] == "openvino"
    assert made["tokenworks.engine_s"] > 0
    assert attributes(decode)["tokenworks.steps"] == made["gen_ai.usage.output_tokens"] - 1
    assert attributes(decode)["tokenworks.batch.mean"] >= 1.0


def test_the_engines_span_says_what_the_caller_is_told_that_its_answer_took(site):
    end = time.monotonic() + 60
    for number in itertools.count(1):  # in its first moments the meter has nothing to say
        trace = f"{number:016x}" * 2
        answer = site.ask(site.model, "hello", trace=trace)
        made = attributes(site.collector.trace(trace, spans=8)["engine"])
        if made["tokenworks.meter"] != "gap":
            break
        assert time.monotonic() < end
    told = answer.usage.model_extra["spent"]
    assert told["joules"] > 0
    assert {f"tokenworks.{name}": value for name, value in told.items()} == {
        "tokenworks.meter": "model",
        **{name: pytest.approx(made[name], abs=1e-4) for name in ("tokenworks.joules", "tokenworks.joules_error")},
        "tokenworks.engine_s": pytest.approx(made["tokenworks.engine_s"], abs=1e-8),
    }


def test_engines_tell_the_collector_what_it_wants_to_hear_and_nobody_else(site):
    trace = "3" * 32
    site.ask(site.model, "hello", trace=trace)
    site.collector.trace(trace, spans=8)
    assert site.collector.headers["tokenworks-engine"]["x-collector"] == "let-me-in"
    for process in (server := psutil.Process(site.running.process.pid), *server.children(recursive=True)):
        assert "let-me-in" not in " ".join(process.cmdline())


def test_a_trace_that_its_caller_does_not_sample_is_not_told_by_the_engine_either(site):
    quiet, loud = "4" * 32, "5" * 32
    with urllib.request.urlopen(asked(site, f"00-{quiet}-{CALLER}-00")) as answer:
        assert answer.status == 200
    site.ask(site.model, "hello", trace=loud)
    site.collector.trace(loud, spans=8)  # what was noted before it would have been sent with it
    site.collector.trace(quiet, spans=0, timeout_s=0.0)


def asked(site, traceparent):
    body = {"model": site.model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
    headers = {"authorization": f"Bearer {site.running.key}", "traceparent": traceparent}
    return urllib.request.Request(f"{site.running.url}/v1/chat/completions", json.dumps(body).encode(), headers)


def test_every_figure_that_the_dashboard_asks_for_is_there(site):
    site.ask(site.model, "hello")
    site.ask("remote", "hello")
    site.ask("remote", "break")
    site.ask("nothing", "hello")
    shown = site.figures()
    assert missing(shown) == {}
    assert missing(shown.replace("tokenworks_ledger_waiting", "renamed")) == {
        "Entries that wait": {"tokenworks_ledger_waiting"}
    }


def missing(figures):
    """Return, for each panel, the metrics that it asks for and that are not among `figures`."""
    there = {sample.name for family in text_string_to_metric_families(figures) for sample in family.samples}
    panels = [panel for panel in json.loads(DASHBOARD.read_bytes())["panels"] if panel["type"] != "row"]
    wanted = {panel["title"]: set().union(*(metrics_in(one["expr"]) for one in panel["targets"])) for panel in panels}
    return {title: names - there for title, names in wanted.items() if names - there}


def test_top_shows_models_engines_and_tenants(site):
    for _ in range(3):
        site.ask(site.model, "hello")
    site.ask("remote", "break")
    shown = tokenworks(site.running.home, "top", "--once", env={**os.environ, "COLUMNS": "160"}).stdout
    assert site.running.url in shown, shown
    (row,) = [line for line in shown.splitlines() if line.startswith(f"{site.model}@1") and "s " in line]
    assert re.search(r"0\.\d\d +\d+\.\d +\d+\.\d +[\d.]+\sm?s", row)
    assert any(line.split()[:2] == [f"{site.model}@1", "ready"] for line in shown.splitlines())
    assert re.search(r"^default +0\.\d\d", shown, re.MULTILINE)
    failed = [line.split()[-2] for line in shown.splitlines() if line.startswith("remote@0")]
    assert int(failed[0]) >= 1
    look = json.loads(tokenworks(site.running.home, "--json", "top").stdout)
    ours = next(row for row in look["models"] if row["name"] == f"{site.model}@1")
    assert ours["requests_per_s"] >= 3 / 60
    assert ours["latency_p50_s"] <= ours["latency_p95_s"]
    assert look["left_site_bytes"] > 0


def test_no_prompt_answer_or_key_is_logged_whatever_fails(site):
    prompt, wrong = "the password is marmalade", "tw-wrongkey00-wrongwrongwrong"
    for model in (site.model, "remote", "marmalade-model"):
        site.ask(model, prompt)
    site.ask("remote", "break")
    site.ask("remote", "break", stream=True)
    site.ask(site.model, prompt, key=wrong)
    bad = urllib.request.Request(
        f"{site.running.url}/v1/chat/completions",
        data=b'{"messages": "marmalade',
        headers={"authorization": f"Bearer {site.running.key}"},
    )
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(bad)
    kill_engine_while_it_answers(site, prompt)
    until(lambda: any("engine failed" in line or "engine broke off" in line for line in site.lines))
    logged = [line for line in site.lines if line.startswith("{")]
    assert len(logged) >= 3
    assert all({"event", "level", "timestamp"} <= set(json.loads(line)) for line in logged)
    for content in ("marmalade", "far away", wrong, "break"):
        assert content not in "".join(site.lines)
    assert site.running.key not in "".join(logged)  # what a start shows to who started it is no log
    assert "Traceback" not in "".join(site.lines)


def kill_engine_while_it_answers(site, prompt):
    (engine,) = [
        one
        for one in psutil.Process(site.running.process.pid).children(recursive=True)
        if site.model in " ".join(one.cmdline())
    ]
    asking = threading.Thread(target=site.ask, args=(site.model, prompt * 40), kwargs={"stream": True})
    asking.start()
    engine.kill()
    asking.join()
    site.ask(site.model, prompt)
