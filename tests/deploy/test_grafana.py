"""The dashboard as code: what it is made from, and whether Grafana and Prometheus can read it."""

import importlib.util
import json

import pytest

from deploy_files import DASHBOARD, metrics_in

SHOWN = json.loads(DASHBOARD.read_bytes())
PANELS = [panel for panel in SHOWN["panels"] if panel["type"] != "row"]


def test_the_file_is_what_its_script_writes():
    spec = importlib.util.spec_from_file_location("dashboard", DASHBOARD.with_name("dashboard.py"))
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.dashboard() == SHOWN


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_one_source_in_expressions_that_parse(panel):
    assert panel["targets"]
    for target in panel["targets"]:
        assert metrics_in(target["expr"])
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["fieldConfig"]["defaults"]["unit"]


def test_no_panel_lies_over_another_and_all_fit():
    taken = set()
    for panel in SHOWN["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in SHOWN["panels"]}) == len(SHOWN["panels"])


def test_an_expression_that_does_not_parse_is_seen():
    with pytest.raises(ValueError):
        metrics_in("sum by (x (rate(a[5m]))")
    assert metrics_in("sum(rate(a_total[5m])) / histogram_quantile(0.5, sum by (le) (b_bucket))") == {
        "a_total",
        "b_bucket",
    }
