"""What a run came to, as an error for whoever has waited for it."""

from __future__ import annotations

from typing import NoReturn

from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from refold.errors import ProjectionBusy, RunFailed, UnknownProjection
from refold.errors.short_failure import is_transient


def raise_failure(name: str, error: WorkflowFailureError | WorkflowUpdateFailedError) -> NoReturn:
    """Raises what a run has failed at.

    Args:
        name: The projection.
        error: As Temporal has it.

    Raises:
        UnknownProjection: No worker has a projection of that name.
        ProjectionBusy: Another run writes the projection.
        RunFailed: Anything else.
    """
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        raise RunFailed(str(cause), type=type(cause).__name__) from error
    if cause.type == UnknownProjection.__name__:
        raise UnknownProjection.said(name, cause.message) from error
    if cause.type == ProjectionBusy.__name__:
        place = cause.details[0] if cause.details and isinstance(cause.details[0], dict) else {}
        raise ProjectionBusy.said(
            cause.message, str(place.get("workflow_id", "")), str(place.get("run_id", ""))
        ) from error
    raise RunFailed(
        cause.message, type=cause.type or "", is_transient=is_transient(cause)
    ) from error
