"""Mirrors: a source of events, and what is asked of what copies from it."""

from __future__ import annotations

from refold import MirroredEvent, ProjectionManager


class Ledger:
    """A source of one's own; REFOLD_MIRRORS=examples.api.mirroring:ledger names it."""

    entries = ("Opened", "Paid", "Paid")

    async def read(self, after: int | None, limit: int) -> list[tuple[int, MirroredEvent]]:
        """The entries after a number; see `refold.MirrorSource`."""
        begin = after or 0
        return [
            (number, MirroredEvent(kind, {"number": number}, stream_id="ledger", version=number))
            for number, kind in enumerate(self.entries[begin : begin + limit], start=begin + 1)
        ]


ledger = Ledger()


def mirror_source() -> Ledger:
    """An object with one method does for a source."""
    return ledger


async def start_mirror(manager: ProjectionManager) -> None:
    """Copies from the ledger, five hundred events a second at most."""
    await manager.start_mirror("ledger", events_per_second=500, requested_by="ann")


async def set_mirror_limits(manager: ProjectionManager) -> None:
    """As fast as it can from now on."""
    limits = await manager.set_mirror_limits("ledger", events_per_second=0)
    print(limits.batch_size)


async def pause_mirror(manager: ProjectionManager) -> None:
    """Stands still while the ledger is being serviced."""
    await manager.pause_mirror("ledger")


async def resume_mirror(manager: ProjectionManager) -> None:
    """Goes on where it was."""
    await manager.resume_mirror("ledger")


async def get_mirrors(manager: ProjectionManager) -> None:
    """How far each mirror is, and why one stands."""
    for mirror in await manager.get_mirrors():
        print(mirror.mirror, mirror.status, mirror.events, mirror.reason or "")


async def cancel_mirror(manager: ProjectionManager) -> None:
    """Ends the mirror: the application writes to refold.events itself now."""
    await manager.cancel_mirror("ledger", "moved over")
