"""The compose files and manifests of `deploy/`, and the schemas that they are held against."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
COMPOSE_FILES = (ROOT / "docker-compose.temporal.yml", *sorted((ROOT / "deploy/compose").iterdir()))

_SCHEMAS = Path(__file__).parent / "schemas"
_COMPOSE = json.loads((_SCHEMAS / "compose-spec.json").read_text())
_KUBERNETES = json.loads((_SCHEMAS / "kubernetes-1.37.json").read_text())


def loaded(path: Path) -> Any:
    """A YAML file's only document."""
    return yaml.safe_load(path.read_text())


def manifests() -> dict[str, dict[str, Any]]:
    """The manifests by kind and name; the kustomization names their files."""
    names = loaded(KUBERNETES / "kustomization.yaml")["resources"]
    read = [loaded(KUBERNETES / name) for name in names]
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in read}


def wrong_in_compose(compose: Any) -> list[str]:
    """What the Compose Specification does not allow."""
    return _said(Draft202012Validator(_COMPOSE), compose)


def wrong_in_manifest(manifest: Mapping[str, Any]) -> list[str]:
    """What Kubernetes does not allow."""
    schema = {**_KUBERNETES["kinds"][manifest["kind"]], "$defs": _KUBERNETES["$defs"]}
    return _said(Draft202012Validator(schema), manifest)


def _said(validator: Draft202012Validator, value: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def containers(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The containers of a manifest that has some."""
    yield from manifest.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])


def environment(
    container: Mapping[str, Any], settings: Mapping[str, str], secrets: Mapping[str, str]
) -> dict[str, str]:
    """What a container has in its environment.

    Args:
        container: Of a manifest.
        settings: The data of the ConfigMap that it takes.
        secrets: Values by ``secret/key``; those that are not there are optional.
    """
    found = dict(settings)
    for one in container["env"]:
        if "value" in one:
            found[one["name"]] = one["value"]
            continue
        reference = one["valueFrom"]["secretKeyRef"]
        place = f"{reference['name']}/{reference['key']}"
        if place in secrets or not reference.get("optional"):
            found[one["name"]] = secrets[place]
    return found


def interpolated(value: str, given: Mapping[str, str] | None = None) -> str:
    """A value of a compose file as compose has it: ``${NAME:-default}`` is replaced."""
    given = given or {}

    def one(found: re.Match[str]) -> str:
        return given.get(found[1]) or found[2]

    return re.sub(r"\$\{([A-Z_]+):-([^}]*)\}", one, value)
