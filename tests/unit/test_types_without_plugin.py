"""What a user's type checker sees: mypy --strict, without the plugin of pydantic.

The documented calls pass; a handler of the wrong event does not.
"""

from __future__ import annotations

import re
from pathlib import Path

from mypy import api

BEFORE = """
from dataclasses import dataclass
from refold import (
    Event, Projection, ProjectionBackfillCompleted, ProjectionFailed, ProjectionStarted, Row,
    SystemEventContext, TypedEvent, on_system_event, upcast,
)

@dataclass
class Placed:
    total: int

@dataclass
class Paid:
    total: int

def declare(p: Projection) -> None:
"""

RIGHT = """
    @on_system_event(ProjectionFailed)
    async def one(event: ProjectionFailed, context: SystemEventContext) -> None: ...

    @on_system_event(ProjectionFailed, ProjectionStarted, projection="p", max_attempts=3)
    def two(event: ProjectionFailed | ProjectionStarted, context: SystemEventContext) -> None: ...

    @p.on_system_event(ProjectionFailed, ProjectionStarted, ProjectionBackfillCompleted)
    def three(
        event: ProjectionFailed | ProjectionStarted | ProjectionBackfillCompleted,
        context: SystemEventContext,
    ) -> None: ...

    def alert(event: ProjectionFailed, context: SystemEventContext) -> None:
        print(event.message)

    @p.on("A", "B")
    def plain(row: Row | None, event: Event) -> Row:
        return {"total": event.data["total"]}

    @p.on(Placed)
    def typed(row: Row | None, event: TypedEvent[Placed]) -> Row:
        total: int = event.data.total + event.position
        return {"total": total}

    @p.on(Placed, Paid)
    def either(row: Row | None, event: TypedEvent[Placed | Paid]) -> Row | None:
        return None if isinstance(event.data, Paid) else {"total": event.data.total}

    @upcast("Placed", from_version=1)
    def newer(event: Event) -> dict[str, int]:
        return {"total": event.data["sum"]}

    built: Projection = p.on_system_event(ProjectionFailed, handler=alert).with_snapshots(
        every_n_events=1000, keep_last=5
    )
"""

WRONG = [
    """
    @on_system_event(ProjectionFailed)
    def wrong(event: ProjectionStarted, context: SystemEventContext) -> None: ...
""",
    """
    @p.on_system_event(ProjectionFailed, ProjectionStarted)
    def wrong(event: ProjectionFailed, context: SystemEventContext) -> None: ...
""",
    """
    def started(event: ProjectionStarted, context: SystemEventContext) -> None: ...

    p.on_system_event(ProjectionFailed, handler=started)
""",
    """
    @p.on(Placed)
    def wrong(row: Row | None, event: TypedEvent[Paid]) -> Row | None: ...
""",
    """
    @p.on(Placed)
    def wrong(row: Row | None, event: Event) -> Row | None: ...
""",
    """
    @p.on("Placed")
    def wrong(row: Row | None, event: TypedEvent[Placed]) -> Row | None: ...
""",
    """
    @upcast("Placed", from_version=1)
    def wrong(event: Event) -> Event:
        return event
""",
]


_REFUSED = "incompatible type|No overload variant|cannot be"

ROOT = Path(__file__).parents[2]
# All calls of the reference, a project of their own.
DOCUMENTED = sorted((ROOT / "examples/api").glob("*.py"))


def checked(tmp_path: Path, *bodies: str) -> dict[str, str]:
    """What mypy says of each body, and of the documented calls."""
    names = [str(path) for path in DOCUMENTED]
    for number, body in enumerate(bodies):
        file = tmp_path / f"case{number}.py"
        file.write_text(BEFORE + body)
        names.append(str(file))
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\nfollow_imports = silent\n")
    # Kept, as it is half a minute's work: mypy itself sees what has changed.
    cache = str(ROOT / ".mypy_cache/without_plugin")
    output, _, _ = api.run(["--config-file", str(config), "--cache-dir", cache, *names])
    said = {Path(name).stem: "" for name in names}
    for line in output.splitlines():
        # Of what is cached mypy says the path that it had then.
        stem = Path(line.partition(":")[0]).stem
        if stem in said:
            said[stem] += f"{line}\n"
    return said


def test_documented_calls_pass_and_a_handler_of_the_wrong_event_does_not(tmp_path: Path) -> None:
    said = checked(tmp_path, RIGHT, *WRONG)
    for path in DOCUMENTED:
        assert said.pop(path.stem) == ""
    assert said.pop("case0") == ""
    for name, words in said.items():
        assert re.search(_REFUSED, words), (name, words)
