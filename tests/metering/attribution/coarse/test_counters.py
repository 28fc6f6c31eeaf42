"""A vLLM server's metrics page behind a real HTTP server: what it says, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.metering.attribution.coarse.counters import Count, Counters, VllmPage, check_url, moved, parse
from tokenworks.metering.source import MeterError

PAGE = """# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{{generation="0"}} 9123.0
# TYPE process_start_time_seconds gauge
process_start_time_seconds {started}
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="small"}} 2.0
vllm:num_requests_running{{engine="1",model_name="small"}} 3.0
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="small"}} {prompt}
vllm:prompt_tokens_total{{engine="1",model_name="small"}} 500.0
vllm:prompt_tokens_total{{engine="0",model_name="large"}} 70.0
# TYPE vllm:prompt_tokens_created gauge
vllm:prompt_tokens_created{{engine="0",model_name="small"}} 1.763e+09
# TYPE vllm:prompt_tokens_cached_total counter
vllm:prompt_tokens_cached_total{{engine="0",model_name="small"}} 40.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="small"}} {generated}
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{{engine="0",le="1.0",model_name="small"}} 3.0
vllm:iteration_tokens_total_bucket{{engine="0",le="+Inf",model_name="small"}} 30.0
vllm:iteration_tokens_total_count{{engine="0",model_name="small"}} 30.0
vllm:iteration_tokens_total_sum{{engine="0",model_name="small"}} 1140.0
"""


def a_page(*, prompt: object = "1000.0", generated: object = "140.0", started: object = "1.7e+09") -> str:
    return PAGE.format(prompt=prompt, generated=generated, started=started)


def test_engines_and_models_of_one_page_are_kept_apart_and_the_gauge_is_added_up() -> None:
    found = parse(a_page())
    assert found.counts[("engine", "0"), ("model_name", "small")] == Count(1000.0, 40.0, 140.0, 30.0)
    assert found.counts[("engine", "1"), ("model_name", "small")].prompt == 500.0
    assert found.counts[("engine", "0"), ("model_name", "large")].prompt == 70.0
    assert (found.running, found.started) == (5.0, 1.7e9)


def test_hits_of_the_prefix_cache_stand_for_cached_tokens_where_a_server_is_older() -> None:
    older = a_page().replace("vllm:prompt_tokens_cached_total", "vllm:prefix_cache_hits_total")
    assert parse(older).counts[("engine", "0"), ("model_name", "small")].cached == 40.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (a_page(prompt="NaN"), "prompt_tokens_total says nan"),
        (a_page(generated="-3"), "generation_tokens_total says -3"),
        (a_page(prompt="+Inf"), "says inf"),
        (a_page(prompt="a lot"), "cannot be read"),
        (a_page(prompt=""), "cannot be read"),
        ('vllm:prompt_tokens_total{engine="0 12', "cannot be read"),
        ("", "--disable-log-stats"),
        ("<html>proxy error</html>", "no vllm:generation_tokens_total, vllm:num_requests_running"),
    ],
)
def test_what_is_no_page_of_vllms_is_an_error_that_says_why(text: str, message: str) -> None:
    with pytest.raises(MeterError, match=message):
        parse(text)


def test_what_was_worked_is_the_difference_of_two_looks() -> None:
    before = parse(a_page())
    found = moved(before, parse(a_page(prompt="1300.0", generated="200.0")))
    assert (found.prompt, found.computed, found.generated, found.anew) == (300.0, 300.0, 60.0, False)


def test_counters_that_fell_have_begun_anew_from_nothing() -> None:
    found = moved(parse(a_page()), parse(a_page(prompt="50.0", generated="7.0")))
    assert (found.prompt, found.generated, found.anew) == (50.0, 7.0, True)


def test_a_server_that_was_started_again_and_has_overtaken_itself_is_noticed_by_its_start() -> None:
    found = moved(parse(a_page()), parse(a_page(prompt="1500.0", started="1.8e+09")))
    assert found.prompt == 1500.0 + 500.0 + 70.0
    assert found.anew


def test_an_engine_that_is_new_on_the_page_counts_from_nothing() -> None:
    before = parse(a_page())
    series = (("engine", "7"), ("model_name", "small"))
    now = Counters({**before.counts, series: Count(prompt=11.0)}, 0.0, before.started)
    assert moved(before, now).prompt == 11.0
    assert not moved(before, now).anew


def test_a_page_is_read_over_http(plug: Any) -> None:
    plug.says["/metrics"] = a_page().encode()
    assert VllmPage(f"{plug.url}/metrics").read().running == 5.0


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (None, "answered 404"),
        (b"\xff\xfe", "decode"),
        (b"# nothing\n", "no vllm:generation_tokens_total"),
        (b"x" * (5 << 20), "more than 4 MiB"),
    ],
)
def test_a_page_that_is_none_is_an_error_that_names_its_address(plug: Any, said: object, message: str) -> None:
    plug.says["/metrics"] = said
    with pytest.raises(MeterError, match=f"{plug.url}/metrics.*{message}"):
        VllmPage(f"{plug.url}/metrics").read()


def test_a_page_that_is_gone_is_an_error(plug: Any) -> None:
    page = VllmPage(f"{plug.url}/metrics")
    plug.vanish()
    with pytest.raises(MeterError, match="cannot be asked"):
        page.read()


def test_a_page_that_sends_elsewhere_is_not_followed(plug: Any) -> None:
    plug.says["/metrics"] = a_page().encode()
    plug.status = 302
    with pytest.raises(MeterError, match="answered 302"):
        VllmPage(f"{plug.url}/metrics").read()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "host:8000/metrics",
        "http://",
        "http://u:p@host/metrics",
        "http://host/m?x=1",
        "http://h:x/",
    ],
)
def test_an_address_that_can_be_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"engines\.remotes 'a'"):
        check_url(url, "engines.remotes 'a': metrics_url")
