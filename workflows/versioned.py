"""The workflows for workers with versions: each says whether it goes over to newer code.

Runs are pinned to the build that they began with: one code folds a table from start to end. What
lives long goes over to the current build, as no old one may be kept for it. They are classes of
their own because a server takes this word from workers with versions only.
"""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.common import VersioningBehavior

from refold.workflows import backfill, delivery, mirror, projection, rebuild, rollback, snapshot

with workflow.unsafe.imports_passed_through():
    from refold.messages.mirrors import MirrorProgress
    from refold.messages.run.life import BackfillResult

_PINNED, _GOES_OVER = VersioningBehavior.PINNED, VersioningBehavior.AUTO_UPGRADE


@workflow.defn(name="Rebuild", versioning_behavior=_PINNED)
class Rebuild(rebuild.Rebuild):
    """See `refold.workflows.rebuild`."""

    @workflow.run
    async def run(self, *inputs: Any) -> BackfillResult:
        """As without versions."""
        return await super().run(*inputs)


@workflow.defn(name="Backfill", versioning_behavior=_PINNED)
class Backfill(backfill.Backfill):
    """See `refold.workflows.backfill`."""

    @workflow.run
    async def run(self, *inputs: Any) -> BackfillResult:
        """As without versions."""
        return await super().run(*inputs)


@workflow.defn(name="Rollback", versioning_behavior=_PINNED)
class Rollback(rollback.Rollback):
    """See `refold.workflows.rollback`."""

    @workflow.run
    async def run(self, *inputs: Any) -> BackfillResult:
        """As without versions."""
        return await super().run(*inputs)


@workflow.defn(name="Snapshot", versioning_behavior=_PINNED)
class Snapshot(snapshot.Snapshot):
    """See `refold.workflows.snapshot`."""

    @workflow.run
    async def run(self, *inputs: Any) -> BackfillResult:
        """As without versions."""
        return await super().run(*inputs)


@workflow.defn(name="Projection", versioning_behavior=_GOES_OVER)
class Projection(projection.Projection):
    """See `refold.workflows.projection`."""

    @workflow.run
    async def run(self, *inputs: Any) -> None:
        """As without versions."""
        await super().run(*inputs)


@workflow.defn(name="SystemEvents", versioning_behavior=_GOES_OVER)
class SystemEvents(delivery.SystemEvents):
    """See `refold.workflows.delivery`."""

    @workflow.run
    async def run(self, *inputs: Any) -> int:
        """As without versions."""
        return await super().run(*inputs)


@workflow.defn(name="Mirror", versioning_behavior=_GOES_OVER)
class Mirror(mirror.Mirror):
    """See `refold.workflows.mirror`."""

    @workflow.run
    async def run(self, *inputs: Any) -> MirrorProgress:
        """As without versions."""
        return await super().run(*inputs)
