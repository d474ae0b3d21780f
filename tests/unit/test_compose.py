"""The compose file and what it builds: all that can be known without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from refold.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.temporal.yml"

CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def test_every_refold_variable_is_a_setting(services: dict[str, dict[str, Any]]) -> None:
    known = {f"REFOLD_{name.upper()}" for name in Settings.model_fields}
    mentioned = set(re.findall(r"\bREFOLD_[A-Z_]+", COMPOSE.read_text()))
    assert mentioned == known, "each setting is set, and nothing else is called REFOLD_…"
    assert known <= services["worker"]["environment"].keys()


def test_the_settings_are_accepted(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in services["worker"]["environment"].items():
        if name.startswith("REFOLD_"):
            monkeypatch.setenv(name, _interpolated(value))
    url = Settings().database_address()
    assert (url.hosts, url.database, url.user) == (("postgresql",), "refold", "refold")


def test_every_dependency_is_a_service(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for dependency, how in service.get("depends_on", {}).items():
            assert dependency in services, f"{name} waits for {dependency}"
            assert how["condition"] in CONDITIONS
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[dependency], f"{name} waits for {dependency}"
            if how["condition"] == "service_completed_successfully":
                assert services[dependency]["restart"] == "no", f"{dependency} never completes"


def test_dependencies_have_no_circle(services: dict[str, dict[str, Any]]) -> None:
    for name in services:
        assert name not in _all_dependencies(services, name)


def test_the_worker_waits_for_migration_and_namespace(services: dict[str, dict[str, Any]]) -> None:
    direct = services["worker"]["depends_on"]
    for name in ("migrate", "namespace"):
        assert direct[name]["condition"] == "service_completed_successfully"
    assert services["migrate"]["command"] == ["refold", "migrate"]
    assert {"postgresql", "databases", "temporal"} <= _all_dependencies(services, "worker")


def test_the_worker_can_be_scaled(services: dict[str, dict[str, Any]]) -> None:
    worker = services["worker"]
    assert "container_name" not in worker
    assert "ports" not in worker


def test_ports_are_bound_to_loopback(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    for port in ports:
        assert str(port).startswith("127.0.0.1:"), port


def test_mounted_files_and_volumes_exist(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_file(), f"{name}: {source}"
            else:
                assert source in compose["volumes"], f"{name}: {source}"


def test_mounted_scripts_are_what_is_run(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        if "entrypoint" not in service:
            continue
        mounted = [volume.split(":")[1] for volume in service["volumes"]]
        assert service["entrypoint"][-1] in mounted, name


def test_scripts_get_the_variables_that_they_read(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.endswith(".sh"):
                continue
            read = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", (ROOT / source).read_text()))
            assert read <= service["environment"].keys(), name


def test_the_dynamic_configuration_is_where_the_server_looks(
    services: dict[str, dict[str, Any]],
) -> None:
    temporal = services["temporal"]
    mounted = temporal["volumes"][0].split(":")[1]
    assert mounted == f"/etc/temporal/{temporal['environment']['DYNAMIC_CONFIG_FILE_PATH']}"
    assert yaml.safe_load((ROOT / "deploy/temporal/dynamicconfig.yaml").read_text())


def test_the_image_copies_what_there_is_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied: set[str] = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            copied |= set(line.split()[1:-1])
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored, name


def _all_dependencies(services: dict[str, dict[str, Any]], name: str) -> set[str]:
    found: set[str] = set()
    waiting = list(services[name].get("depends_on", {}))
    while waiting:
        dependency = waiting.pop()
        if dependency not in found:
            found.add(dependency)
            waiting += services[dependency].get("depends_on", {})
    return found


def _interpolated(value: str) -> str:
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)
