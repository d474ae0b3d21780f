"""Which snapshot a rollback goes back to, and which version takes it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.lifecycle.deployment import Deployment
from refold.errors import InvalidRequest
from refold.projection.declaration import Projection
from refold.requests.runs import RollbackRequest
from refold.store import generations
from refold.store.generations import Generation
from refold.store.snapshots import copies, kept
from refold.store.snapshots.kept import Kept


@dataclass(frozen=True)
class Source:
    """What a rollback begins with.

    Attributes:
        generation: The generation, or the one that has the snapshot's rows.
        kept: The snapshot, if it is kept as changes.
    """

    generation: Generation
    kept: Kept | None = None

    @property
    def position(self) -> int | None:
        """Its checkpoint."""
        return self.generation.position if self.kept is None else self.kept.position

    @property
    def version(self) -> int:
        """The version that made its rows."""
        return self.generation.version if self.kept is None else self.kept.version

    @property
    def copied(self) -> bool:
        """Whether it stays, and a copy of it goes live."""
        return self.kept is not None or self.generation.status == generations.SNAPSHOT

    def __str__(self) -> str:
        if self.kept is None:
            return f"generation {self.generation.generation}"
        return f"the snapshot of position {self.kept.position}"


async def named_snapshot(connection: AsyncConnection, request: RollbackRequest) -> Source | None:
    """The snapshot of the request's position; None when it names none.

    Raises:
        InvalidRequest: There is none of that position; the message lists the latest there are.
    """
    if request.to_snapshot is None:
        return None
    name, position = request.projection, request.to_snapshot
    there: list[Source] = []
    for copy in await copies.newest_first(connection, name):
        there.append(Source(copy))
    for one in await kept.newest_first(connection, name):
        of = await generations.get(connection, name, one.generation)
        if of is not None:
            there.append(Source(of, one))
    fits = [source for source in there if source.position == position]
    if request.as_version is not None:  # only what is kept as changes can have another version
        fits = [source for source in fits if source.kept is not None] or fits
    if fits:
        return max(fits, key=_made_at)
    listed = sorted({source.position or 0 for source in there}, reverse=True)
    shown = ", ".join(map(str, listed[:20])) or "none"
    more = f" and {len(listed) - 20:,} more" if len(listed) > 20 else ""
    raise InvalidRequest(
        f"to_snapshot: expected the position of a snapshot of {name!r} ({shown}{more}), got "
        f"{position}: `refold snapshots list {name}`"
    )


def _made_at(source: Source) -> float:
    made = source.generation if source.kept is None else source.kept
    return made.created_at.timestamp()


async def taking(
    deployment: Deployment, request: RollbackRequest, source: Source
) -> Projection | None:
    """The version that takes what a rollback begins with; None when its own is not registered.

    Raises:
        InvalidRequest: Another version is to take it, or is the only one that could, and cannot.
    """
    name, made_by = request.projection, source.version
    if source.kept is None:
        if request.as_version not in (None, made_by):
            raise InvalidRequest(
                f"as_version: expected {made_by}, the version that made {source}, as it is a copy; "
                f"got {request.as_version}"
            )
        return await deployment.version(name, made_by)
    chosen: Projection | None
    if request.as_version is None:
        own = await deployment.version(name, made_by)
        newest = deployment.registry.get(name)
        can = source.kept.has_json and newest.snapshots.restore is not None
        chosen = own or (newest if can else None)
    else:
        chosen = await deployment.version(name, request.as_version)
        if chosen is None:
            known = ", ".join(str(v) for v in deployment.registry.versions(name))
            raise InvalidRequest(
                f"as_version: expected a registered version of {name!r} ({known}), got "
                f"{request.as_version}"
            )
    if chosen is not None and chosen.version != made_by:
        _require_json(source.kept, chosen)
    return chosen


def _require_json(snapshot: Kept, taker: Projection) -> None:
    what = f"the snapshot of position {snapshot.position} was made by version {snapshot.version}"
    if not snapshot.has_json:
        raise InvalidRequest(
            f"as_version: {what} without create=, so that no other version can take it, got "
            f"{taker.version}: register version {snapshot.version} beside it, or start a Rebuild"
        )
    if taker.snapshots.restore is None:
        raise InvalidRequest(
            f"as_version: {what}, expected version {taker.version} to have a restore= for it: "
            "give it one, or start a Rebuild"
        )
