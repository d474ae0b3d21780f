"""Logs: one line a record, for people or, with REFOLD_LOG_FORMAT=json, for machines."""

from __future__ import annotations

import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson
from opentelemetry import trace

from refold.runtime.telemetry.worker_number import worker_number

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Where several write to one place.
_TEXT_OF = "%(asctime)s worker {} %(levelname)s %(name)s: %(message)s"

_ABOUT: ContextVar[dict[str, Any] | None] = ContextVar("_ABOUT", default=None)


def begin_about(**fields: Any) -> None:
    """Begins what log lines of this task, and of those that it starts, are about."""
    _ABOUT.set(fields)


def about(**fields: Any) -> None:
    """Adds to what log lines are about, such as ``position``; does nothing outside of a step."""
    known = _ABOUT.get()
    if known is not None:
        known.update(fields)


def set_up_logging() -> None:
    """Logs to standard error, one line a record, in the format of REFOLD_LOG_FORMAT."""
    handler = logging.StreamHandler(sys.stderr)
    # Another value is refused with the settings.
    as_json = os.environ.get("REFOLD_LOG_FORMAT") == "json"
    number = worker_number()
    text = _TEXT if number is None else _TEXT_OF.format(number)
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter(text))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One JSON object a record; fields that are not known are left out.

    ``worker`` is the number of the process, where there are several on a machine.
    In workflows and activities it has ``workflow_id`` and ``run_id``; in a run's steps also
    ``projection`` and, once something is committed, ``position``; within a span ``trace_id`` and
    ``span_id``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        fields: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "worker": worker_number(),
            **_of_temporal(),
            **(_ABOUT.get() or {}),
            **_of_trace(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        kept = {name: value for name, value in fields.items() if value is not None}
        return orjson.dumps(kept, default=str).decode()


def _of_temporal() -> dict[str, Any]:
    from temporalio import activity, workflow

    if activity.in_activity():
        info = activity.info()
        return {
            "workflow_id": info.workflow_id,
            "run_id": info.workflow_run_id,
            "activity": info.activity_type,
            "attempt": info.attempt,
        }
    if workflow.in_workflow():
        of = workflow.info()
        return {"workflow_id": of.workflow_id, "run_id": of.run_id, "workflow": of.workflow_type}
    return {}


def _of_trace() -> dict[str, Any]:
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }
