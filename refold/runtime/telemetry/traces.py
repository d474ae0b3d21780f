"""Traces of commands, workflows, activities and batches, when OTEL_* ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry import trace

from refold.runtime.telemetry.resource import exporters, resource

if TYPE_CHECKING:
    from temporalio.client import Interceptor

# A proxy: its spans go wherever the provider that is set later sends them, or nowhere.
tracer = trace.get_tracer("refold")

_interceptors: list[Interceptor] | None = None


def set_up_tracing() -> Sequence[Interceptor]:
    """Sends traces where OTEL_* say; does nothing when they say nothing, or a second time.

    Returns:
        The interceptors to give to the Temporal client.

    Raises:
        ConfigurationError: OTEL_* ask for what there is not.
    """
    global _interceptors  # noqa: PLW0603  # of the process, as OpenTelemetry's provider is
    if _interceptors is None:
        _interceptors = _set_up() if exporters("TRACES", ("otlp",)) else []
    return _interceptors


def _set_up() -> list[Interceptor]:
    # Only now: commands that send no traces start sooner without these.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from temporalio.contrib.opentelemetry import TracingInterceptor

    provider = TracerProvider(resource=resource())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return [TracingInterceptor()]
