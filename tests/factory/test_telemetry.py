"""Settings of telemetry: nothing is loaded for those who want none, and what cannot be meant is named."""

import os
import subprocess
import sys

import pytest
from opentelemetry.util.re import parse_env_headers

from tokenworks.core.errors import ConfigError, MissingExtraError
from tokenworks.factory.telemetry import engine_environment, engine_traces, telemetry
from tokenworks.settings import TelemetrySettings


def test_without_a_collector_the_layers_stay_as_they_are_and_opentelemetry_is_not_loaded():
    code = (
        "import sys, tokenworks.factory.telemetry as one; from tokenworks.settings import TelemetrySettings;"
        "import tokenworks.gateway.app, tokenworks.serving.host;"
        "assert one.telemetry(TelemetrySettings()).around([1, 2]) == [1, 2];"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"otlp_endpoint": "collector:4318"}, "write it like http://host:4318"),
        ({"otlp_endpoint": "http://c:4318", "otlp_headers": "nonsense"}, "name=value"),
        ({"otlp_endpoint": "http://c:4318", "sample": 1.5}, "a share is 0 to 1"),
    ],
)
def test_what_cannot_be_meant_is_named(settings, says):
    with pytest.raises(ConfigError, match=says):
        telemetry(TelemetrySettings(**settings))


def test_without_the_extra_it_says_which_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtraError, match=r"tokenworks\[otel\]"):
        telemetry(TelemetrySettings(otlp_endpoint="http://c:4318"))


def test_engines_find_the_collectors_headers_in_their_environment_and_not_in_their_command():
    settings = TelemetrySettings(otlp_endpoint="http://c:4318", otlp_headers="Authorization=Bearer a,b=c d")
    environment = engine_environment(settings)
    assert environment is not None
    told = environment["OTEL_EXPORTER_OTLP_TRACES_HEADERS"]
    assert parse_env_headers(told, liberal=True) == {"authorization": "Bearer a", "b": "c d"}
    assert environment["PATH"] == os.environ["PATH"]
    assert engine_traces(settings) == ("http://c:4318/v1/traces", "tokenworks-engine")


def test_without_a_collector_engines_are_told_nothing():
    assert engine_environment(TelemetrySettings(otlp_headers="a=b")) is None
    assert engine_traces(TelemetrySettings()) == ("", "")
