"""What the container and Kubernetes run beside the server, as far as it runs without them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from flask.testing import FlaskClient

from flaskapp.settings import SETTINGS
from tests.conftest import ROOT, Server
from tests.jobs.hosts import Network, made_network

DEPLOY = ROOT / "deploy"
IMAGE = (ROOT / "Dockerfile").read_text()
DEPLOYMENT: dict[str, Any] = next(iter(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())))
AUTOSCALER: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes-autoscaling.yaml").read_text())
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
POD = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


@pytest.fixture(scope="module")
def network() -> Any:
    with made_network() as network:
        yield network


def check(prefix: str) -> int:
    """The exit status of the container's health check, which asks no proxy."""
    proxy = "http://127.0.0.1:9"
    return subprocess.run(
        [sys.executable, DEPLOY / "healthcheck.py"],
        env={**os.environ, "SCRIPT_NAME": prefix, "http_proxy": proxy},
        timeout=60,
        check=False,
    ).returncode


@pytest.mark.parametrize(("bind", "prefix"), [("127.0.0.2:8000", ""), ("[::]:80", "/captions")])
def test_the_health_check_finds_the_server_wherever_it_listens(
    network: Network, start_server: Callable[..., Server], bind: str, prefix: str
) -> None:
    with network.add_host().entered():
        assert check(prefix) == 1
        server = start_server("--workers", "1", command=f"gunicorn --bind {bind} wsgi:app", SCRIPT_NAME=prefix)
        assert check(prefix) == 0
        server.stop()
        assert check(prefix) == 1


@pytest.mark.parametrize(
    ("port", "is_told"),
    [("0.0.0.0:80", True), ("0.0.0.0:8000", False)],
)
def test_where_port_80_is_closed_the_entry_point_says_what_to_do(network: Network, port: str, is_told: bool) -> None:
    with network.add_host().entered():
        run = subprocess.run(
            [DEPLOY / "entrypoint.sh", "echo", "gunicorn", "--bind", port, "wsgi:app"],
            user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    assert run.stdout == f"gunicorn --bind {port} wsgi:app\n", "the command runs all the same"
    assert ("ip_unprivileged_port_start=0" in run.stderr) == is_told


def check_manifests(text: str, version: str) -> list[str]:
    """The kinds of the objects in a file of manifests. Raises ValidationError for one that is against its schema."""
    objects = list(yaml.safe_load_all(text))
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)
    return [each["kind"] for each in objects]


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.yaml")), ids=lambda path: str(path.name))
def test_kubernetes_manifests_follow_the_schemas_of_kubernetes(path: Path, version: str) -> None:
    assert check_manifests(path.read_text(), version)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("replicas: 1", "replica: 1"),
        ("replicas: 1", "replicas: one"),
        ("periodSeconds: 2", "period: 2"),
        ("drop: [ALL]", "drop: ALL"),
        ("accessModes: [ReadWriteOnce]", "modes: [ReadWriteOnce]"),
        ("targetPort: http", "target: http"),
    ],
)
def test_a_wrong_field_of_a_kubernetes_manifest_is_found(right: str, wrong: str) -> None:
    text = (DEPLOY / "kubernetes.yaml").read_text()
    assert text.count(right) == 1
    with pytest.raises(kubernetes_validate.ValidationError):
        check_manifests(text.replace(right, wrong), kubernetes_validate.latest_version())


def test_kubernetes_restricted_profile_is_kept() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not CONTAINER["securityContext"]["allowPrivilegeEscalation"]
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_kubernetes_runs_the_image_s_user_and_folder() -> None:
    user, group = re.findall(r"^USER (\d+):(\d+)$", IMAGE, re.MULTILINE)[-1]
    assert (POD["securityContext"]["runAsUser"], POD["securityContext"]["runAsGroup"]) == (int(user), int(group))
    assert "VOLUME /data" in IMAGE
    assert {"name": "data", "mountPath": "/data"} in CONTAINER["volumeMounts"]


def test_kubernetes_probes_are_answered_at_the_port_that_is_bound(client: FlaskClient) -> None:
    (port,) = [each["containerPort"] for each in CONTAINER["ports"] if each["name"] == "http"]
    assert f"0.0.0.0:{port}" in CONTAINER["args"]
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert CONTAINER[name]["httpGet"]["port"] == "http"
        assert client.get(CONTAINER[name]["httpGet"]["path"]).status_code in (200, 503)


def served_metrics(client: FlaskClient) -> set[str]:
    """The names of all series, also of those that nothing was counted in so far."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", client.get("/metrics").text, re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def test_every_metric_of_the_dashboard_and_the_autoscaler_is_served(client: FlaskClient) -> None:
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert len(queries) >= len(DASHBOARD["panels"]) > 0
    queries += [variable["query"] for variable in DASHBOARD["templating"]["list"]]
    queries += [each["pods"]["metric"]["name"] for each in AUTOSCALER["spec"]["metrics"]]
    named = {name for query in queries for name in re.findall(r"\bflaskapp_\w+", query)}
    assert named <= served_metrics(client), named - served_metrics(client)


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_autoscaler_scales_the_deployment_on_the_depth_of_the_queue() -> None:
    target = AUTOSCALER["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (DEPLOYMENT["kind"], DEPLOYMENT["metadata"]["name"])
    (metric,) = AUTOSCALER["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "flaskapp_captioner_waiting_images"
    defaults = {setting.name: setting.default for setting in SETTINGS}
    assert int(metric["pods"]["target"]["averageValue"]) == defaults["CAPTIONER_MAX_BATCH"]
    assert defaults["CAPTIONER_MAX_BATCH"] < defaults["CAPTIONER_QUEUE"], "it scales before requests are refused"


def test_prometheus_scrapes_the_port_that_is_bound(client: FlaskClient) -> None:
    annotations = DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(CONTAINER["ports"][0]["containerPort"])
    assert client.get(annotations["prometheus.io/path"]).status_code == 200
