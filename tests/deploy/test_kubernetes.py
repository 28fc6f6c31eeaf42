"""The manifests under deploy/: as Kubernetes describes itself, as the server understands them, and as they agree."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.testing
import yaml

from tokenworks.cli.main import app
from tokenworks.core.errors import ConfigError
from tokenworks.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
TEXT = (DEPLOY / "kubernetes" / "tokenworks.yaml").read_text()
Manifest = dict[str, Any]
MANIFESTS: list[Manifest] = list(yaml.safe_load_all(TEXT))
VERSIONS = ("1.28", "1.37")  # the oldest that has every field that is used, and the newest that can be had
HOME = "/var/lib/tokenworks"


def of_kind(kind: str, name: str = "tokenworks", among: list[Manifest] | None = None) -> Manifest:
    (found,) = (one for one in among or MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def rendered(folder: str) -> list[Manifest]:
    """Return what `kubectl apply -k` would send; skip where there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on this machine")
    made = subprocess.run(["kubectl", "kustomize", str(DEPLOY / folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))


@pytest.fixture
def pod() -> Manifest:
    """What a pod is made of."""
    spec: Manifest = of_kind("StatefulSet")["spec"]["template"]["spec"]
    return spec


# -- as Kubernetes describes itself


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_what_kubernetes_expects(version: str) -> None:
    checks = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate (108 MB) is not installed")
    for manifest in MANIFESTS:
        assert checks.validate(manifest, version, strict=True) == version


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("StatefulSet", ["spec", "replicas"], "two"),
        ("StatefulSet", ["spec", "template", "spec", "securityContext", "runAsNotRoot"], True),
        ("NetworkPolicy", ["spec", "policyTypes"], "Ingress"),
        ("PodDisruptionBudget", ["spec", "minimumAvailable"], 1),
        ("ServiceAccount", ["automountServiceAccountToken"], "never"),
    ],
)
def test_a_manifest_that_is_wrong_is_found(kind: str, path: list[str], value: object) -> None:
    checks = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate (108 MB) is not installed")
    manifest = copy.deepcopy(of_kind(kind))
    place = manifest
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(checks.ValidationError):
        checks.validate(manifest, VERSIONS[-1], strict=True)


def test_a_site_changes_what_is_its_own_and_stays_what_kubernetes_expects() -> None:
    made, plain = rendered("site"), rendered("kubernetes")
    checks = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate (108 MB) is not installed")
    for manifest in made:
        checks.validate(manifest, VERSIONS[-1], strict=True)
    assert {one["metadata"]["namespace"] for one in made} == {"tokenworks"}
    assert "192.0.2.0/24" not in json.dumps(made)
    assert of_kind("StatefulSet", among=made)["spec"]["replicas"] == 3
    images = {one["image"] for one in containers(of_kind("StatefulSet", among=made)["spec"]["template"]["spec"])}
    assert images == {"registry.example.com/ai/tokenworks:0.1.0"}
    load_settings(environ=of_kind("ConfigMap", among=made)["data"])
    assert sorted(map(key_of, made)) == sorted(map(key_of, plain)) == sorted(map(key_of, MANIFESTS))


def key_of(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


# -- as the server understands them


def test_every_variable_of_the_manifests_is_a_setting() -> None:
    named = set(re.findall(r"TOKENWORKS_[A-Z0-9_]*[A-Z0-9]", TEXT)) - {"TOKENWORKS_PORT"}  # which is Kubernetes' own
    said = dict(re.findall(r"--from-literal=(TOKENWORKS_\w+)=(\S+)", TEXT)) | of_kind("ConfigMap")["data"]
    assert named == said.keys() | {"TOKENWORKS_SERVER__BACKGROUND"}
    settings = load_settings(environ=said | {"TOKENWORKS_SERVER__BACKGROUND": "false"})
    assert settings.limits.shared.startswith("redis://")
    assert settings.store.catalog.startswith("postgresql+psycopg://")
    assert settings.server.background is False
    assert settings.home == HOME


def test_what_kubernetes_adds_to_the_environment_is_not_taken_for_settings(pod: Manifest) -> None:
    environ = of_kind("ConfigMap")["data"]
    assert load_settings(environ=environ | service_links(pod)).home == HOME
    with pytest.raises(ConfigError, match=r"[Pp]ort|service"):
        load_settings(environ=environ | service_links({**pod, "enableServiceLinks": True}))


def service_links(pod: Manifest) -> dict[str, str]:
    """Return the variables that a kubelet makes of a namespace's Services, unless a pod wants none.

    https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
    """
    service = of_kind("Service")
    stem, address = service["metadata"]["name"].upper().replace("-", "_"), "10.0.162.149"
    (port,) = service["spec"]["ports"]
    if not pod.get("enableServiceLinks", True):
        return {}
    return {f"{stem}_SERVICE_HOST": address, f"{stem}_PORT": f"tcp://{address}:{port['port']}"}


def test_no_secret_has_a_default() -> None:
    assert not [one for one in MANIFESTS if one["kind"] == "Secret"]
    assert "change-me" not in TEXT


def test_the_commands_that_are_started_exist(pod: Manifest) -> None:
    shown = typer.testing.CliRunner().invoke(app, ["serve", "--help"]).output
    assert "--workers" in shown
    assert "exec tokenworks serve --workers" in pod["containers"][0]["args"][0]


@pytest.mark.parametrize(("host", "background"), [("tokenworks-0", True), ("tokenworks-1", False)])
def test_one_host_works_in_the_background(pod: Manifest, host: str, background: bool) -> None:
    script = pod["containers"][0]["args"][0].replace("exec tokenworks serve --workers 2", "env")
    ran = subprocess.run(
        [*pod["containers"][0]["command"], script],
        env={"HOSTNAME": host, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    environ = dict(line.split("=", 1) for line in ran.stdout.splitlines() if line.startswith("TOKENWORKS"))
    assert load_settings(environ=environ).server.background is background


# -- as they agree


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["initContainers"], *pod["containers"]]


def test_pods_have_the_time_to_drain(pod: Manifest) -> None:
    drain_s = float(of_kind("ConfigMap")["data"]["TOKENWORKS_SERVER__DRAIN_S"])
    (container,) = pod["containers"]
    before_s = float(container["lifecycle"]["preStop"]["exec"]["command"][2].removeprefix("sleep "))
    ready = container["readinessProbe"]
    assert pod["terminationGracePeriodSeconds"] >= before_s + drain_s + 10
    assert before_s > ready["periodSeconds"]


def test_ports_labels_and_volumes_name_each_other(pod: Manifest) -> None:
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert str(port["containerPort"]) == of_kind("ConfigMap")["data"]["TOKENWORKS_SERVER__PORT"]
    assert {container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")} == {
        port["name"]
    }
    labels = of_kind("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert of_kind("Service")["spec"]["selector"].items() <= labels.items()
    assert of_kind("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    for kind, selector in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        assert of_kind(kind)["spec"][selector]["matchLabels"].items() <= labels.items()
    assert pod["serviceAccountName"] == of_kind("ServiceAccount")["metadata"]["name"]
    claims = of_kind("StatefulSet")["spec"]["volumeClaimTemplates"]
    volumes = {one["name"] for one in (*pod["volumes"], *(claim["metadata"] for claim in claims))}
    for one in containers(pod):
        assert {mount["name"] for mount in one["volumeMounts"]} <= volumes


# -- what it is not allowed to do


def test_pods_keep_to_the_restricted_pod_security_standard(pod: Manifest) -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    kinds = {name for volume in pod["volumes"] for name in volume.keys() - {"name"}}
    assert kinds <= {"configMap", "emptyDir", "secret", "projected", "persistentVolumeClaim"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    for one in containers(pod):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,  # which the standard does not ask for
            "capabilities": {"drop": ["ALL"]},
        }


def test_pods_have_no_way_into_kubernetes_and_bounds_for_what_they_take(pod: Manifest) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert of_kind("ServiceAccount")["automountServiceAccountToken"] is False
    for one in containers(pod):
        assert {"cpu", "memory"} <= one["resources"]["requests"].keys()
        assert "memory" in one["resources"]["limits"]
    assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_what_a_container_writes_lies_on_a_volume(pod: Manifest) -> None:
    (container,) = pod["containers"]
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {of_kind("ConfigMap")["data"]["TOKENWORKS_HOME"], "/tmp"}
    assert {"name": "HOME", "value": "/tmp"} in container["env"]


def test_nobody_speaks_with_anybody_but_whom_a_policy_names() -> None:
    closed = of_kind("NetworkPolicy", "default-deny")["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ours = of_kind("NetworkPolicy")["spec"]
    assert ours["policyTypes"] == ["Ingress", "Egress"]
    for rule in (*ours["ingress"], *ours["egress"]):
        assert rule["ports"]
        for peer in rule.get("from", []) + rule.get("to", []):
            assert {} not in peer.values(), "an empty selector lets in everybody"
            assert peer.get("ipBlock", {}).get("cidr") != "0.0.0.0/0"
    (served,) = of_kind("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert [port["port"] for rule in ours["ingress"] for port in rule["ports"]] == [served["name"]]


def test_the_stores_that_hosts_share_can_be_reached_and_ask_nobody_else() -> None:
    said = dict(re.findall(r"--from-literal=(TOKENWORKS_\w+)=\S+@(\w+:\d+)", TEXT))
    assert len(said) == 2
    out = of_kind("NetworkPolicy")["spec"]["egress"]
    into = of_kind("NetworkPolicy", "databases")["spec"]
    for store in said.values():
        name, _, port = store.partition(":")
        asked = {"to": [{"podSelector": {"matchLabels": {"app": name}}}]}
        assert asked | {"ports": [{"port": int(port), "protocol": "TCP"}]} in out
        assert name in into["podSelector"]["matchExpressions"][0]["values"]
        assert int(port) in [one["port"] for one in into["ingress"][0]["ports"]]
    assert into["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"app": "tokenworks"}}}]
