"""Wall meters and Prometheus behind a real HTTP server."""

from __future__ import annotations

from typing import Any

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.power import prometheus, wall
from tokenworks.metering.source import MeterError
from tokenworks.settings import MeterSettings

NOTHING = Calibration()


def a_wall(plug: Any, **changes: Any) -> wall.Wall:
    settings = {"url": f"{plug.url}/status", "field": "emeters.0.total", "unit": "Wh", **changes}
    return wall.open_source(MeterSettings(**settings), NOTHING)


def test_an_energy_register_is_found_by_its_path_and_unit(plug: Any) -> None:
    plug.says["/status"] = {"emeters": [{"power": 81.2, "total": 12.5}]}
    source = a_wall(plug, header="authorization: Bearer s3cret")
    (sample,) = source.read()
    assert sample.value == 12.5 * 3600
    assert not sample.power
    assert (source.grade, source.error) == ("wall", 0.01)
    assert plug.headers["Authorization"] == "Bearer s3cret"


def test_power_is_a_sample_and_says_so(plug: Any) -> None:
    plug.says["/status"] = {"emeters": [{"power": 81.2}]}
    source = a_wall(plug, field="emeters.0.power", unit="W")
    assert source.read()[0].power
    assert source.grade == "sampled"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"emeters": []}, "no '0'"),
        ({"emeters": [{"power": 1}]}, "no 'total'.*power"),
        ({"emeters": [{"total": None}]}, "no number"),
        ({"emeters": [{"total": True}]}, "no number"),
        (b"<html>", "not answer JSON"),
        (None, "answered 404"),
    ],
)
def test_an_answer_that_is_not_the_figure_is_an_error(plug: Any, said: object, message: str) -> None:
    plug.says["/status"] = said
    with pytest.raises(MeterError, match=message):
        a_wall(plug).read()


def test_a_meter_that_is_gone_is_an_error(plug: Any) -> None:
    source = a_wall(plug)
    plug.vanish()
    with pytest.raises(MeterError, match="cannot be asked"):
        source.read()


def test_settings_that_do_not_say_what_to_read_are_refused(plug: Any) -> None:
    with pytest.raises(ConfigError, match=r"meter\.field"):
        a_wall(plug, field="")
    with pytest.raises(ConfigError, match=r"meter\.url"):
        a_wall(plug, url="plug.local")
    with pytest.raises(ConfigError, match="'BTU' is none of mJ, J, kJ, Wh"):
        a_wall(plug, unit="BTU")


def a_prometheus(plug: Any, **changes: Any) -> prometheus.Prometheus:
    return prometheus.open_source(
        MeterSettings(**{"url": plug.url, "query": "node_j", "unit": "J", **changes}), NOTHING
    )


def answer(*values: str) -> dict[str, Any]:
    result = [{"metric": {"zone": str(at)}, "value": [1.7e9, value]} for at, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def test_each_series_of_a_query_is_a_counter(plug: Any) -> None:
    plug.says["/api/v1/query"] = answer("10.5", "20")
    assert [(one.zone, one.value) for one in a_prometheus(plug).read()] == [("zone=0", 10.5), ("zone=1", 20.0)]


def test_nan_of_prometheus_arrives_as_nan_for_the_check_to_refuse(plug: Any) -> None:
    plug.says["/api/v1/query"] = answer("NaN")
    (sample,) = a_prometheus(plug).read()
    assert sample.value != sample.value


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (answer(), "no series for node_j"),
        ({"status": "error", "error": "parse error"}, "parse error"),
        ({"data": 3}, "as Prometheus does"),
        ([1], "as Prometheus does"),
    ],
)
def test_what_is_no_vector_is_an_error(plug: Any, said: object, message: str) -> None:
    plug.says["/api/v1/query"] = said
    with pytest.raises(MeterError, match=message):
        a_prometheus(plug).read()


def test_a_query_is_needed(plug: Any) -> None:
    with pytest.raises(ConfigError, match=r"meter\.query"):
        a_prometheus(plug, query="")
