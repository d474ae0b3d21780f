"""Compose files and Kubernetes manifests: their schemas, and all that they name."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from refold.runtime.settings import Settings
from refold.worker.plugin import _GRACE as GRACE
from tests.support.manifests import (
    COMPOSE_FILES,
    KUBERNETES,
    ROOT,
    containers,
    environment,
    loaded,
    manifests,
    wrong_in_compose,
    wrong_in_manifest,
)

MANIFESTS = manifests()
WORKER = MANIFESTS["Deployment/refold-worker"]
SETTINGS = MANIFESTS["ConfigMap/refold-settings"]["data"]

# Told to a process by the one that starts it, and no setting of anybody.
_INTERNAL = {"REFOLD_SUPERVISOR_PID", "REFOLD_WORKER_NUMBER"}


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_a_compose_file_is_one(path: Path) -> None:
    compose = loaded(path)
    assert wrong_in_compose(compose) == []
    spoilt = copy.deepcopy(compose)
    next(iter(spoilt["services"].values()))["comand"] = ["refold"]
    assert wrong_in_compose(spoilt) != []


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_one(name: str) -> None:
    manifest = MANIFESTS[name]
    assert wrong_in_manifest(manifest) == []
    spoilt = copy.deepcopy(manifest)
    spoilt["metadata"]["nam"] = "refold"
    assert wrong_in_manifest(spoilt) != []
    for number, container in enumerate(containers(spoilt)):
        del spoilt["metadata"]["nam"]
        container["imagePullPolicies"] = "Always"
        assert f"containers[{number}]" in wrong_in_manifest(spoilt)[0]


def test_every_file_is_a_resource() -> None:
    kustomization = loaded(KUBERNETES / "kustomization.yaml")
    files = {path.name for path in KUBERNETES.iterdir()} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    (image,) = kustomization["images"]
    compose = loaded(COMPOSE_FILES[0])["services"]["worker"]["image"]
    assert f"{image['newName']}:{image['newTag']}" == compose
    used = {one["image"] for manifest in MANIFESTS.values() for one in containers(manifest)}
    assert used == {image["name"]}


def test_what_is_named_is_there() -> None:
    account = {
        manifest["spec"]["template"]["spec"]["serviceAccountName"]
        for manifest in MANIFESTS.values()
        if list(containers(manifest))
    }
    assert {f"ServiceAccount/{name}" for name in account} <= MANIFESTS.keys()
    taken = {
        source["configMapRef"]["name"]
        for manifest in MANIFESTS.values()
        for container in containers(manifest)
        for source in container["envFrom"]
    }
    assert {f"ConfigMap/{name}" for name in taken} <= MANIFESTS.keys()
    target = MANIFESTS["HorizontalPodAutoscaler/refold-worker"]["spec"]["scaleTargetRef"]
    assert f"{target['kind']}/{target['name']}" in MANIFESTS
    labels = WORKER["spec"]["template"]["metadata"]["labels"].items()
    for selector in (
        WORKER["spec"]["selector"],
        MANIFESTS["PodDisruptionBudget/refold-worker"]["spec"]["selector"],
        WORKER["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"],
    ):
        assert selector["matchLabels"].items() <= labels


def test_probes_ask_where_the_worker_answers() -> None:
    (worker,) = containers(WORKER)
    ports = {port["name"]: port["containerPort"] for port in worker["ports"]}
    assert ports["health"] == int(SETTINGS["REFOLD_HEALTH_PORT"])
    paths = {}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = worker[name]["httpGet"]
        assert asked["port"] == "health"
        paths[name] = asked["path"]
    assert (paths["livenessProbe"], paths["readinessProbe"]) == ("/livez", "/readyz")


def test_a_worker_is_given_the_time_to_finish() -> None:
    grace = GRACE.total_seconds()
    assert WORKER["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= grace + 10
    compose = loaded(COMPOSE_FILES[0])["services"]["worker"]
    assert int(compose["stop_grace_period"].removesuffix("s")) >= grace + 10


def test_no_secret_stands_in_a_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"refold-database/url": "postgresql://refold:s3cr3t@postgresql/refold"}
    for manifest in MANIFESTS.values():
        assert manifest["kind"] != "Secret"
        for container in containers(manifest):
            given = environment(container, SETTINGS, secrets)
            assert given["REFOLD_DATABASE_URL"] == secrets["refold-database/url"]
            assert "TEMPORAL_API_KEY" not in given
            for name, value in given.items():
                monkeypatch.setenv(name, value)
            assert Settings().database_address().hosts == ("postgresql",)


def test_every_variable_is_known_to_the_settings() -> None:
    known = {f"REFOLD_{name.upper()}" for name in Settings.model_fields}
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.*")]
    for page in (*pages, ROOT / "Dockerfile", ROOT / "docker-compose.temporal.yml"):
        if not page.is_file():
            continue
        named = set(re.findall(r"\bREFOLD_[A-Z_]*[A-Z]\b", page.read_text()))
        assert named - _INTERNAL <= known, page.name


def test_the_offered_triggers_are_yaml() -> None:
    text = (KUBERNETES / "autoscaling.yaml").read_text()
    lines = re.findall(r"^#   (.*)$", text, re.MULTILINE)
    offered: Any = yaml.safe_load("\n".join(lines))
    (trigger,) = offered["triggers"]
    assert trigger["metadata"]["taskQueue"] == SETTINGS["REFOLD_TASK_QUEUE"]
