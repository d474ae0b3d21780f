"""Metrics, over OTLP and for Prometheus to scrape, when OTEL_* ask for them.

docs/telemetry.md has each one with its unit and meaning; a test compares it with the code. As long
as no provider is set, an instrument does nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry import metrics

from refold.errors import ConfigurationError
from refold.runtime.telemetry.resource import exporters, resource

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader

logger = logging.getLogger(__name__)

EXPORTERS = ("otlp", "prometheus")
"""What OTEL_METRICS_EXPORTER may name."""

PROMETHEUS_PORT = "OTEL_EXPORTER_PROMETHEUS_PORT"
_PORT = "9464"

PROJECTION = "refold.projection"
OPERATION = "refold.operation"
STEP = "refold.step"
ERROR_TYPE = "error.type"

# Seconds. A batch is to take about a second; one that takes ten holds others up.
_BATCH_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LOOK_SECONDS = 15.0
# Readers stand still meanwhile.
_HOLD_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

meter = metrics.get_meter("refold")

EVENTS = meter.create_counter(
    "refold.events.processed", unit="{event}", description="Events folded and committed."
)
BATCH_SECONDS = meter.create_histogram(
    "refold.batch.duration",
    unit="s",
    description="Time to make and commit a batch.",
    explicit_bucket_boundaries_advisory=_BATCH_SECONDS,
)
RETRIES = meter.create_counter(
    "refold.step.retries", unit="{attempt}", description="Attempts that failed and are followed."
)
FAILURES = meter.create_counter(
    "refold.step.failures", unit="{step}", description="Steps that failed for good."
)
LOCK_WAIT_SECONDS = meter.create_counter(
    "refold.lock.wait.time", unit="s", description="Time that steps were held up by others."
)
SWAP_HOLD_SECONDS = meter.create_histogram(
    "refold.swap.hold.duration",
    unit="s",
    description="Time for which a swap locked readers out.",
    explicit_bucket_boundaries_advisory=_HOLD_SECONDS,
)


def are_wanted() -> bool:
    """Whether this process has somewhere for metrics to go, by Refold's doing or its own."""
    # What the API itself has is a stand-in.
    return not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")


def seconds_between_looks() -> float:
    """How often the database is looked at for gauges: for each export, every 15 s at least."""
    said = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    return min(_LOOK_SECONDS, int(said) / 1000) if said.isdecimal() else _LOOK_SECONDS


def set_up_metrics() -> None:
    """Sends metrics, or serves them, as OTEL_* say; does nothing when they say nothing.

    Raises:
        ConfigurationError: OTEL_* ask for what there is not, or the port is taken.
    """
    named = exporters("METRICS", EXPORTERS)
    if not named or are_wanted():
        return
    from opentelemetry.sdk.metrics import MeterProvider

    readers = [_reader(name) for name in named]
    metrics.set_meter_provider(MeterProvider(metric_readers=readers, resource=resource()))


def _reader(exporter: str) -> MetricReader:
    if exporter == "otlp":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        return PeriodicExportingMetricReader(OTLPMetricExporter())
    return _served()


def prometheus_port(environment: Mapping[str, str]) -> int | None:
    """The port at which a worker with this environment is to serve metrics; None for nowhere.

    One that is none is left for the worker to refuse.
    """
    named = environment.get("OTEL_METRICS_EXPORTER", "").lower().split(",")
    said = environment.get(PROMETHEUS_PORT) or _PORT
    if "prometheus" not in map(str.strip, named) or not said.isdecimal():
        return None
    return int(said)


def _served() -> MetricReader:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import start_http_server

    host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost"
    said = os.environ.get(PROMETHEUS_PORT) or _PORT
    if not said.isdecimal() or not int(said) < 2**16:
        raise ConfigurationError(
            f"OTEL_EXPORTER_PROMETHEUS_PORT: expected a number up to 65535, got {said!r}"
        )
    try:
        server, _ = start_http_server(int(said), addr=host)
    except OSError as error:
        raise ConfigurationError(
            f"OTEL_EXPORTER_PROMETHEUS_HOST, OTEL_EXPORTER_PROMETHEUS_PORT: cannot serve metrics "
            f"at {host}:{said} ({error.strerror or error}): each worker on a machine needs a port "
            "of its own"
        ) from None
    logger.info("metrics are served at http://%s:%d/metrics", host, server.server_port)
    reader: MetricReader = PrometheusMetricReader()
    return reader
