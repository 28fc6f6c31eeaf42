"""The files under deploy/ say what the server understands, and agree with themselves."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.testing
import yaml

from tokenworks.cli.main import app
from tokenworks.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "tokenworks.yaml").read_text()))


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = (one for one in MANIFESTS if one["kind"] == kind)
    return found


@pytest.fixture
def pod() -> dict[str, Any]:
    """What a pod is made of."""
    spec: dict[str, Any] = of_kind("StatefulSet")["spec"]["template"]["spec"]
    return spec


def test_every_manifest_is_what_kubernetes_expects() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate (108 MB) is not installed")
    for manifest in MANIFESTS:
        validate.validate(manifest, "1.30", strict=True)


def test_every_variable_of_the_manifests_is_a_setting() -> None:
    environ = of_kind("Secret")["stringData"] | of_kind("ConfigMap")["data"]
    settings = load_settings(environ=environ | {"TOKENWORKS_SERVER__BACKGROUND": "false"})
    assert settings.limits.shared.startswith("redis://")
    assert settings.server.background is False
    assert settings.home == "/var/lib/tokenworks"


def test_pods_have_the_time_to_drain(pod: dict[str, Any]) -> None:
    drain_s = float(of_kind("ConfigMap")["data"]["TOKENWORKS_SERVER__DRAIN_S"])
    (container,) = pod["containers"]
    before_s = float(container["lifecycle"]["preStop"]["exec"]["command"][2].removeprefix("sleep "))
    ready = container["readinessProbe"]
    assert pod["terminationGracePeriodSeconds"] >= before_s + drain_s + 10
    assert before_s > ready["periodSeconds"]


def test_ports_labels_and_volumes_name_each_other(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert str(port["containerPort"]) == of_kind("ConfigMap")["data"]["TOKENWORKS_SERVER__PORT"]
    assert {container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")} == {
        port["name"]
    }
    labels = of_kind("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert of_kind("Service")["spec"]["selector"].items() <= labels.items()
    assert of_kind("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    claims = of_kind("StatefulSet")["spec"]["volumeClaimTemplates"]
    volumes = {one["name"] for one in (*pod["volumes"], *(claim["metadata"] for claim in claims))}
    for one in (*pod["initContainers"], container):
        assert {mount["name"] for mount in one["volumeMounts"]} <= volumes


def test_the_commands_that_are_started_exist(pod: dict[str, Any]) -> None:
    shown = typer.testing.CliRunner().invoke(app, ["serve", "--help"]).output
    assert "--workers" in shown
    assert "--reload" in shown
    assert "tokenworks serve --workers" in pod["containers"][0]["args"][0]
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "systemd" / "tokenworks.service")
    assert unit["Service"]["ExecStart"].endswith("serve --workers 2")
    assert unit["Service"]["ExecReload"].endswith("serve --reload")
    assert unit["Service"]["Type"] == "notify"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    text = (DEPLOY / "systemd" / "tokenworks.service").read_text()
    unit = tmp_path / "tokenworks.service"
    unit.write_text(text.replace("/opt/tokenworks/.venv/bin/tokenworks", shutil.which("true") or "/bin/true"))
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    said = [line for line in checked.stderr.splitlines() if "tokenworks.service" in line]
    assert not said, said
