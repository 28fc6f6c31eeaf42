"""`top` over a ledger and figures that a test writes: what is counted, and what is said where nobody answers."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tokenworks.core.errors import NotFoundError
from tokenworks.factory.top import NO_MODEL, Top
from tokenworks.gateway.metrics import Metrics
from tokenworks.ledger.entries import RequestEntry, Transfer
from tokenworks.ledger.writer import Ledger
from tokenworks.serving.supervisor import EngineStatus

NOW = 10_000.0


def request(at, **changes):
    facts = {"request_id": "r", "endpoint": "classify", "outcome": "ok", "status": 200, "version": "route@1"}
    return RequestEntry(**{"at": at, "tenant": "acme", "prompt_tokens": 6, "completion_tokens": 3} | facts | changes)


@pytest.fixture
def home(tmp_path):
    """A home whose server shows real figures."""
    metrics = Metrics()
    far = Transfer("cloud", "eu", "far:443", "public", 500, 700)
    metrics.count(request(NOW, transfers=(far, far)))
    metrics.watch(lambda: 4)

    class Figures(BaseHTTPRequestHandler):
        def do_GET(self):
            body = metrics.text({"route@1": EngineStatus(state="restarting", restarts=2)})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Figures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "address.json").write_text(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}))
    yield tmp_path
    server.shutdown()
    server.server_close()


def test_rates_and_percentiles_are_those_of_the_window_and_a_second_look_adds_what_is_new(home):
    top = Top(home, window_s=10.0)
    with Ledger(home / "ledger", "gateway-0") as ledger:
        ledger.append(request(NOW - 60, latency_s=9.0))
        for number in range(1, 5):
            ledger.append(request(NOW - 5, latency_s=number / 10, ttft_s=number / 100))
        ledger.append(request(NOW - 4, outcome="failed", status=502))
        ledger.append(request(NOW - 4, outcome="refused", status=404, version="", model="\x1b[31mevil"))
        look = top.look(NOW)
        by_name = {row.name: row for row in look.models}
        assert set(by_name) == {"route@1", NO_MODEL}
        row = by_name["route@1"]
        assert (row.requests_per_s, row.failed, row.refused) == (0.5, 1, 0)
        assert (row.prompt_tokens_per_s, row.completion_tokens_per_s) == (3.0, 1.5)
        assert (row.latency_p50_s, row.latency_p95_s, row.ttft_p50_s, row.ttft_p95_s) == (0.2, 0.4, 0.02, 0.04)
        assert [(one.name, one.requests_per_s) for one in look.tenants] == [("acme", 0.6)]
        ledger.append(request(NOW + 1, tenant="bolt"))
        assert [one.name for one in top.look(NOW + 1).tenants] == ["acme", "bolt"]
        assert top.look(NOW + 100).models == ()


def test_what_the_figures_say_is_shown_beside(home):
    look = Top(home).look(NOW)
    assert (look.in_flight, look.left_site_bytes, look.ledger_waiting) == (4, 1000, 0)
    assert [(one.version, one.state, one.restarts) for one in look.engines] == [("route@1", "restarting", 2)]


def test_where_no_server_runs_it_says_how_to_start_one(tmp_path):
    with pytest.raises(NotFoundError, match="start one: tokenworks serve"):
        Top(tmp_path).look(NOW)
    (tmp_path / "address.json").write_text('{"url": "http://127.0.0.1:1"}')
    with pytest.raises(NotFoundError, match="does not answer"):
        Top(tmp_path).look(NOW)
