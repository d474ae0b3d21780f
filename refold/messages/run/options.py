"""What a run goes by, as system events tell it: the request, with what the projection declares."""

from __future__ import annotations

from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from refold.messages.base import Message
from refold.requests.criteria import Criteria
from refold.requests.instants import Instant
from refold.requests.runs import Approval


class RunOptions(Message):
    """What a run goes by; what does not apply to it is None, and is not recorded.

    Attributes:
        criteria: What is repaired; None of a rollback or a snapshot.
        from_date: See `refold.requests.criteria.CriteriaFields`, as the next ones.
        to_date: The end of a range of dates (exclusive).
        from_position: The first position of a range.
        to_position: The last position of a range (inclusive).
        last_n: Days or events.
        predicate: A CEL expression.
        predicate_name: The name of a predicate registered in Python.
        missing: Whether keys without a row are refolded.
        tenant: Whose keys.
        is_atomic: Whether a new table is built and swapped in.
        batch_size: Events in one transaction.
        max_concurrency: Partitions at a time.
        events_per_second: Over all partitions; 0 for no limit.
        approval: Who decides that a new table goes live.
        rollback_on_failure: Whether what stood there is brought back when it fails.
        create_backup: Whether what stood there is kept.
        as_of: The position at which it goes live.
        to_generation: Of a rollback: where to.
        to_version: Of a rollback: the version that built where it goes to.
        requested_by: Who asked for it, if anybody said.
    """

    criteria: Criteria | None = None
    from_date: Instant | None = None
    to_date: Instant | None = None
    from_position: int | None = None
    to_position: int | None = None
    last_n: int | None = None
    predicate: str | None = None
    predicate_name: str | None = None
    missing: bool | None = None
    tenant: str | None = None
    is_atomic: bool | None = None
    batch_size: int | None = None
    max_concurrency: int | None = None
    events_per_second: float | None = None
    approval: Approval | None = None
    rollback_on_failure: bool | None = None
    create_backup: bool | None = None
    as_of: int | None = None
    to_generation: int | None = None
    to_version: int | None = None
    requested_by: str | None = None

    @model_serializer(mode="wrap")
    def _without_what_does_not_apply(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value is not None}
