"""How mirrors are, for people and for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from refold.cli.output import console, length_of

if TYPE_CHECKING:
    from refold.manager.mirroring.health import MirrorHealth


def show_mirrors(found: Sequence[MirrorHealth]) -> None:
    """A table of them; nothing when there are none."""
    if not found:
        return
    table = Table("mirror", "status", "events", "position", "lag", "why", box=None)
    table.columns[0].no_wrap = True
    for one in found:
        table.add_row(
            one.mirror,
            one.status,
            f"{one.events:,}",
            "none" if one.position is None else f"{one.position:,}",
            "none" if one.lag_seconds is None else length_of(one.lag_seconds),
            one.reason or "; ".join(f"waits for {line}" for line in one.waiting_for),
        )
    console.print(table)


def as_rows(found: Sequence[MirrorHealth]) -> list[dict[str, Any]]:
    """Beside rows of projections: what has the key ``mirror`` has no projection."""
    return [{"projection": None, **one.model_dump(mode="json")} for one in found]
