"""Parts of the container's and Kubernetes' files that can be tested without them."""

import json
import os
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from flask.testing import FlaskClient

from flaskapp.settings import SETTINGS
from tests.conftest import ROOT, Server
from tests.jobs.hosts import Network, made_network
from tests.tls import Certificate, certificate

__all__ = ["certificate"]  # a fixture

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


# Import before setuid: another user may not be able to read this Python's modules.
AS_NOBODY = (
    "-c",
    "import contextlib, http.client, os, pathlib, socket, ssl, sys\n"
    "source = pathlib.Path(sys.argv[1]).read_text()\n"
    "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    "exec(source)",
)


def check(prefix: str = "", program: Sequence[str] = ()) -> int:
    """Run the container's health check. Check that it uses no proxy and prints nothing. Return its exit status."""
    proxy = "http://127.0.0.1:9"
    ended = subprocess.run(
        [sys.executable, *program, DEPLOY / "healthcheck.py"],
        env={**os.environ, "SCRIPT_NAME": prefix, "http_proxy": proxy},
        cwd=ROOT,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.stdout + ended.stderr == ""
    return ended.returncode


def unix_sockets() -> list[str]:
    """Return the Unix sockets that the health check requests, which exclude the engine's: it speaks no HTTP."""
    return list(runpy.run_path(str(DEPLOY / "healthcheck.py"))["unix_addresses"]())


def test_the_health_check_skips_sockets_with_odd_names() -> None:
    with socket.socket(socket.AF_UNIX) as odd:
        odd.bind(b"\0line\nbreak \x1c\x85")
        odd.listen()
        unix_sockets()


@pytest.mark.parametrize(
    ("bind", "prefix", "has_tls"),
    [
        ("127.0.0.2:8000", "", False),
        ("[::]:80", "/captions", False),
        ("0.0.0.0:443", "", True),
        ("unix:{folder}/flask app.sock", "/captions", True),
    ],
)
def test_the_health_check_finds_the_server_wherever_it_listens(
    network: Network,
    start_server: Callable[..., Server],
    certificate: Certificate,
    tmp_path: Path,
    bind: str,
    prefix: str,
    has_tls: bool,
) -> None:
    tls = ["--certfile", str(certificate.file), "--keyfile", str(certificate.key)] if has_tls else []
    with network.add_host().entered():
        assert check(prefix) == 1
        address = ["--bind", bind.format(folder=tmp_path)]
        server = start_server("--workers", "1", *address, *tls, command="gunicorn wsgi:app", SCRIPT_NAME=prefix)
        assert check(prefix) == 0
        assert unix_sockets() == [each.removeprefix("unix:") for each in address if each.startswith("unix:")]
        server.stop()
        assert check(prefix) == 1
    server.close()
    assert not [line for line in server.lines if "ERROR" in line or "WARNING" in line or "Traceback" in line]


def test_the_health_check_uses_only_sockets_of_its_user(
    network: Network, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    """In a container all processes may have one user other than root."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in (folder, *folder.parents):
        if path == folder or path.name.startswith(("pytest-", "popen-", "test_")):  # pytest makes these private
            path.chmod(0o755)
    with network.add_host().entered():
        start_server("--workers", "1", "--bind", f"unix:{folder}/app.sock", command="gunicorn wsgi:app")
        assert check() == 0
        assert check(program=AS_NOBODY) == 1
        os.chown(folder / "app.sock", 65534, 65534)
        assert check(program=AS_NOBODY) == 0


def test_the_health_check_fails_if_the_server_does_not_answer(network: Network) -> None:
    with network.add_host().entered(), socket.create_server(("127.0.0.1", 8000)):
        assert check() == 1


@pytest.mark.parametrize(
    ("port", "is_explained"),
    [("0.0.0.0:80", True), ("0.0.0.0:8000", False)],
)
def test_the_entry_point_explains_how_to_avoid_a_forbidden_port_80(
    network: Network, port: str, is_explained: bool
) -> None:
    with network.add_host().entered():
        run = subprocess.run(
            [DEPLOY / "entrypoint.sh", "echo", "gunicorn", "--bind", port, "wsgi:app"],
            user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    assert run.stdout == f"gunicorn --bind {port} wsgi:app\n", "the command runs nevertheless"
    assert ("ip_unprivileged_port_start=0" in run.stderr) == is_explained


def check_manifests(text: str, version: str) -> list[str]:
    """Validate the objects in a file of manifests. Return their kinds; raise ValidationError for an invalid one."""
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
def test_a_wrong_field_in_a_kubernetes_manifest_is_found(right: str, wrong: str) -> None:
    text = (DEPLOY / "kubernetes.yaml").read_text()
    assert text.count(right) == 1
    with pytest.raises(kubernetes_validate.ValidationError):
        check_manifests(text.replace(right, wrong), kubernetes_validate.latest_version())


def test_the_pod_follows_kubernetes_restricted_profile() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not CONTAINER["securityContext"]["allowPrivilegeEscalation"]
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_pod_uses_the_image_s_user_and_folder() -> None:
    user, group = re.findall(r"^USER (\d+):(\d+)$", IMAGE, re.MULTILINE)[-1]
    assert (POD["securityContext"]["runAsUser"], POD["securityContext"]["runAsGroup"]) == (int(user), int(group))
    assert "VOLUME /data" in IMAGE
    assert {"name": "data", "mountPath": "/data"} in CONTAINER["volumeMounts"]


def test_kubernetes_probes_use_the_bound_port_and_existing_paths(client: FlaskClient) -> None:
    (port,) = [each["containerPort"] for each in CONTAINER["ports"] if each["name"] == "http"]
    assert f"0.0.0.0:{port}" in CONTAINER["args"]
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert CONTAINER[name]["httpGet"]["port"] == "http"
        assert client.get(CONTAINER[name]["httpGet"]["path"]).status_code in (200, 503)


def served_metrics(client: FlaskClient) -> set[str]:
    """Return the names of all series, also of uncounted ones."""
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


def test_dashboard_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_autoscaler_scales_the_deployment_by_queue_depth() -> None:
    target = AUTOSCALER["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (DEPLOYMENT["kind"], DEPLOYMENT["metadata"]["name"])
    (metric,) = AUTOSCALER["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "flaskapp_captioner_waiting_images"
    defaults = {setting.name: setting.default for setting in SETTINGS}
    assert int(metric["pods"]["target"]["averageValue"]) == defaults["CAPTIONER_MAX_BATCH"]
    assert defaults["CAPTIONER_MAX_BATCH"] < defaults["CAPTIONER_QUEUE"], "below the refusal limit"


def test_prometheus_scrapes_the_bound_port(client: FlaskClient) -> None:
    annotations = DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(CONTAINER["ports"][0]["containerPort"])
    assert client.get(annotations["prometheus.io/path"]).status_code == 200
