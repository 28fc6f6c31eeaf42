"""Figures folded from entries, read back by Prometheus' own parser."""

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tokenworks.gateway.metrics import Metrics
from tokenworks.gateway.tally import Distribution
from tokenworks.ledger.entries import RequestEntry, Transfer
from tokenworks.serving.supervisor import EngineStatus


def entry(**changes):
    facts = {"at": 1.0, "request_id": "r", "endpoint": "chat.completions", "outcome": "ok", "status": 200}
    return RequestEntry(**facts | {"version": "chat@1"} | changes)


def read(metrics, engines=None):
    """Return (name, labels) -> value."""
    families = text_string_to_metric_families(metrics.text(engines or {}).decode())
    return {(sample.name, *sorted(sample.labels.values())): sample.value for one in families for sample in one.samples}


def test_an_answer_counts_under_its_model_with_its_tokens_and_times():
    metrics = Metrics()
    metrics.count(entry(prompt_tokens=10, cached_tokens=4, completion_tokens=5, latency_s=0.3, ttft_s=0.1))
    found = read(metrics)
    assert found["tokenworks_requests_total", "200", "chat.completions", "chat@1", "ok"] == 1
    assert found["tokenworks_tokens_total", "chat.completions", "chat@1", "completion"] == 5
    assert found["tokenworks_tokens_total", "cached", "chat.completions", "chat@1"] == 4
    genai = ("chat", "chat@1")
    assert found["gen_ai_server_request_duration_seconds_sum", *genai] == 0.3
    assert found["gen_ai_server_request_duration_seconds_bucket", "0.16", *genai] == 0
    assert found["gen_ai_server_request_duration_seconds_bucket", "0.32", *genai] == 1
    assert found["gen_ai_server_request_duration_seconds_bucket", "+Inf", *genai] == 1
    assert found["gen_ai_server_time_to_first_token_seconds_count", *genai] == 1
    assert abs(found["gen_ai_server_time_per_output_token_seconds_sum", *genai] - 0.05) < 1e-9


def test_refusals_count_by_code_and_have_no_duration():
    metrics = Metrics()
    for code in ("rate_limit_exceeded", "rate_limit_exceeded", "insufficient_quota"):
        metrics.count(entry(outcome="refused", status=429, error=code, latency_s=0.1))
    found = read(metrics)
    assert found["tokenworks_refusals_total", "rate_limit_exceeded"] == 2
    assert found["tokenworks_refusals_total", "insufficient_quota"] == 1
    assert found["gen_ai_server_request_duration_seconds_count", "chat", "chat@1"] == 0


def test_attempts_count_where_they_went_and_all_but_an_answer_have_failed():
    metrics = Metrics()
    here, far = Transfer("chat@1", "here", "", "public", 10, 20), Transfer("cloud", "eu", "far:1", "public", 30, 40)
    metrics.count(entry(transfers=(here, far)))
    metrics.count(entry(transfers=(far,), outcome="failed", status=502))
    metrics.count(entry(transfers=(here,)))
    found = read(metrics)
    assert found["tokenworks_upstream_attempts_total", "cloud", "eu"] == 2
    assert found["tokenworks_upstream_failures_total", "cloud", "eu"] == 1
    assert found["tokenworks_upstream_failures_total", "chat@1", "here"] == 1
    assert found["tokenworks_upstream_bytes_total", "cloud", "eu", "received"] == 80
    assert found["tokenworks_left_site_bytes_total",] == 60


def test_an_engine_is_in_exactly_one_state():
    found = read(Metrics(), {"chat@1": EngineStatus(state="restarting", restarts=3)})
    states = {key[1:]: value for key, value in found.items() if key[0] == "tokenworks_engine_state"}
    assert [key for key, value in states.items() if value] == [("chat@1", "restarting")]
    assert len(states) == 5
    assert found["tokenworks_engine_up", "chat@1"] == 0
    assert found["tokenworks_engine_restarts", "chat@1"] == 3


@settings(deadline=None)
@given(st.lists(st.floats(0, 100, allow_nan=False)))
def test_a_distribution_puts_each_value_under_the_bounds_that_it_does_not_exceed(values):
    bounds = (0.1, 1.0, 10.0)
    one = Distribution(bounds)
    for value in values:
        one.observe(value)
    assert [count for _, count in one.buckets()] == [
        *(sum(value <= bound for value in values) for bound in bounds),
        len(values),
    ]
