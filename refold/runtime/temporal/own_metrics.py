"""Temporal's own metrics of a worker, such as how long its tasks wait: sent beside Refold's."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache

from opentelemetry.util.re import parse_env_headers
from temporalio.runtime import OpenTelemetryConfig, Runtime, TelemetryConfig

from refold.runtime.telemetry.metrics import EXPORTERS, are_wanted
from refold.runtime.telemetry.resource import exporters, resource

_DEFAULT_MILLISECONDS = 60_000


@cache
def measured_runtime() -> Runtime | None:
    """What Temporal's client is to run in; None for its default, which measures nothing.

    Only OTLP takes them: Temporal's core would serve a port of its own to Prometheus.
    """
    if not are_wanted() or "otlp" not in exporters("METRICS", EXPORTERS):
        return None
    return Runtime(
        telemetry=TelemetryConfig(
            metrics=OpenTelemetryConfig(
                url=_endpoint(),
                headers=_headers(),
                metric_periodicity=timedelta(milliseconds=_interval()),
                durations_as_seconds=True,
                http=True,
            ),
            # Several workers send the same counters.
            global_tags={"instance": str(resource().attributes["service.instance.id"])},
        )
    )


def _endpoint() -> str:
    own = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    return own or f"{os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'].rstrip('/')}/v1/metrics"


def _headers() -> dict[str, str]:
    own = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_HEADERS")
    said = own or os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    return dict(parse_env_headers(said, liberal=True))


def _interval() -> int:
    said = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    return int(said) if said.isdecimal() and int(said) else _DEFAULT_MILLISECONDS
