"""A collector of traces and metrics, as a test plays it: OTLP over HTTP."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.posted import Post, Server


@dataclass(frozen=True)
class Span:
    """A span as it arrived."""

    trace: str
    id: str
    parent: str
    name: str
    service: str
    attributes: dict[str, Any]


def spans_of(server: Server) -> list[Span]:
    """All spans that were posted to a collector."""
    return [span for post in list(server.posts) for span in _of(post)]


def _of(post: Post) -> Iterator[Span]:
    if not post.path.endswith("/v1/traces"):
        return
    sent = ExportTraceServiceRequest.FromString(unpacked(post))
    for resource in sent.resource_spans:
        who = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                about = {
                    one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
                    for one in span.attributes
                }
                yield Span(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.name,
                    who["service.name"],
                    about,
                )


def unpacked(post: Post) -> bytes:
    """A request's body."""
    packed = post.headers.get("Content-Encoding", post.headers.get("content-encoding"))
    return gzip.decompress(post.body) if packed == "gzip" else post.body


def sums_of(server: Server, name: str) -> dict[str, float]:
    """The latest sum of a counter, over all its attributes, by the instance that sent it."""
    found: dict[str, float] = {}
    for post in list(server.posts):
        if not post.path.endswith("/v1/metrics"):
            continue
        for resource in ExportMetricsServiceRequest.FromString(unpacked(post)).resource_metrics:
            who = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        points = metric.sum.data_points
                        found[who["service.instance.id"]] = sum(p.as_int for p in points)
    return found
