"""Which signals OTEL_* ask for, and that nothing is there of what nobody asks for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from refold.errors import ConfigurationError
from refold.runtime.telemetry.metrics import seconds_between_looks
from refold.runtime.telemetry.resource import exporters, resource
from tests.support.processes import ROOT, clean_environment

BOTH = ("otlp", "prometheus")
OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
ADDRESS = "http://collector:4318"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, []),
        ({OTLP: ""}, []),
        ({OTLP: ADDRESS}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": ADDRESS}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ADDRESS}, []),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, ["prometheus"]),
        ({OTLP: ADDRESS, "OTEL_METRICS_EXPORTER": "prometheus"}, ["prometheus"]),
        ({OTLP: ADDRESS, "OTEL_METRICS_EXPORTER": "otlp, Prometheus"}, ["otlp", "prometheus"]),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, []),
        ({OTLP: ADDRESS, "OTEL_METRICS_EXPORTER": "none"}, []),
        ({OTLP: ADDRESS, "OTEL_SDK_DISABLED": "True"}, []),
        ({OTLP: ADDRESS, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ["otlp"]),
    ],
)
def test_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert exporters("METRICS", BOTH) == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_METRICS_EXPORTER", "console"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
    ],
)
def test_what_there_is_not_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(OTLP, ADDRESS)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"{name}: expected .*'{value}'"):
        exporters("METRICS", BOTH)


def test_who_sends_is_said_by_the_environment_first(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = resource().attributes
    assert plain["service.name"] == "refold"
    assert plain["service.instance.id"] == resource().attributes["service.instance.id"]
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-1,team=blue")
    said = resource().attributes
    assert (said["service.name"], said["service.instance.id"]) == ("shop", "pod-1")
    assert said["team"] == "blue"


@pytest.mark.parametrize(
    ("said", "seconds"), [("", 15), ("60000", 15), ("500", 0.5), ("often", 15)]
)
def test_the_database_is_looked_at_as_often_as_metrics_are_sent(
    monkeypatch: pytest.MonkeyPatch, said: str, seconds: float
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", said)
    assert seconds_between_looks() == seconds


_LOADED = """
import sys
from refold.runtime.telemetry import batch, set_up_tracing
from refold.runtime.telemetry.metrics import are_wanted, set_up_metrics
assert set_up_tracing() == []
set_up_metrics()
assert not are_wanted()
with batch("refold", "orders", events=3) as measured:
    measured.position = 3
heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "prometheus_client", "temporalio")
print([name for name in sys.modules if name.startswith(heavy)])
"""


def test_off_nothing_is_loaded() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _LOADED],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
