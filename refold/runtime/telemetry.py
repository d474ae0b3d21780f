"""OpenTelemetry: traces of workflows, activities and batches, when OTEL_* asks for them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from opentelemetry import trace
from temporalio.client import Interceptor

# A proxy: its spans go wherever the provider that is set later sends them, or nowhere.
tracer = trace.get_tracer("refold")


def is_wanted() -> bool:
    """Whether the environment names a place for traces to go."""
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    return not disabled and exporter != "none" and any(os.environ.get(name) for name in endpoints)


def set_up_telemetry() -> Sequence[Interceptor]:
    """Sends traces where OTEL_* says; does nothing when it says nothing.

    Returns:
        The interceptors to give to the Temporal client.
    """
    if not is_wanted():
        return []
    # Only now: commands that send no traces start sooner without these.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from temporalio.contrib.opentelemetry import TracingInterceptor

    service = os.environ.get("OTEL_SERVICE_NAME", "refold")
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return [TracingInterceptor()]


def flush_telemetry() -> None:
    """Sends what has not been sent yet; waits for at most five seconds."""
    force_flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force_flush is not None:
        force_flush(5_000)
