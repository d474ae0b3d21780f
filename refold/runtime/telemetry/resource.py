"""What OTEL_* say for all signals: where to, how, and who sends."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING
from uuid import uuid4

from refold.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

_PROTOCOL = "http/protobuf"


@cache
def _instance() -> str:
    """This process, whatever it sends."""
    return str(uuid4())


def exporters(signal: str, known: tuple[str, ...]) -> list[str]:
    """Where a signal goes: what ``OTEL_<SIGNAL>_EXPORTER`` names, ``otlp`` where it names nothing.

    OTLP is left out where no endpoint is set, as a collector is nowhere by default.

    Args:
        signal: ``TRACES`` or ``METRICS``.
        known: The exporters that there are, beside ``none``.

    Raises:
        ConfigurationError: Another exporter is named, or another protocol than there is.
    """
    variable = f"OTEL_{signal}_EXPORTER"
    said = os.environ.get(variable, "") or "otlp"
    named = [name for part in said.split(",") if (name := part.strip().lower())]
    strange = [name for name in named if name not in (*known, "none")]
    if strange:
        raise ConfigurationError(
            f"{variable}: expected {', '.join(known)} or none, got {strange[0]!r}"
        )
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or "none" in named:
        return []
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    if not any(os.environ.get(name) for name in endpoints):
        return [name for name in named if name != "otlp"]
    if "otlp" in named:
        _require_protocol(signal)
    return named


def _require_protocol(signal: str) -> None:
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(variable)
        if protocol and protocol != _PROTOCOL:
            raise ConfigurationError(
                f"{variable}: expected {_PROTOCOL}, got {protocol!r}: name the collector's address "
                "for OTLP over HTTP, port 4318 as a rule"
            )
        if protocol:
            return


def resource() -> Resource:
    """Who sends: the service, its version, this process; OTEL_RESOURCE_ATTRIBUTES has more."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    own = {
        "service.name": "refold",
        "service.version": version("refold"),
        "service.instance.id": _instance(),
    }
    # What the environment says goes before what is said here.
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})
