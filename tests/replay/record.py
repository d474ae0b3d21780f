"""Records a history of each shape: `python -m tests.replay.record [--again] [SHAPE …]`.

The histories of released versions stay: workflows of theirs may still run when their workers are
replaced. So what is there is not overwritten, unless --again says that it was never released.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from shutil import which
from typing import Any

from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from refold.messages.search_attributes import SEARCH_ATTRIBUTES
from refold.stack.postgres import EmbeddedPostgres
from tests.conftest import _beside_python
from tests.replay.shapes import CONTINUED, SHAPES, Shape
from tests.replay.short_history import short_history_server
from tests.support.databases import drop_database, make_database, make_template
from tests.support.ports import free_port

HISTORIES = Path(__file__).parent / "histories"


def files(name: str) -> list[Path]:
    """The files of a shape: one a run, several when it continued as new."""
    return sorted(HISTORIES.glob(f"{name}-[0-9]*.json"))


def _without_machine(value: Any) -> Any:
    """A history without what it says of the machine it was recorded on: paths and names."""
    if isinstance(value, dict):
        said = {"stackTrace": "", "identity": "worker"}
        return {key: said.get(key, _without_machine(inner)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_machine(inner) for inner in value]
    return value


async def _record(server: EmbeddedPostgres, client: Client, name: str, shape: Shape) -> None:
    database = await make_database(server)
    try:
        handles = await shape(client, database)
    finally:
        await drop_database(server, database)
    for file in files(name):
        file.unlink()
    for number, handle in enumerate(handles, 1):
        history = await handle.fetch_history()
        file = HISTORIES / f"{name}-{number}.json"
        recorded = _without_machine(json.loads(history.to_json()))
        file.write_text(json.dumps(recorded, indent=2) + "\n")
        print(f"{file.name}: {len(history.events)} events")


async def record(names: list[str], *, again: bool) -> None:
    """Records the named shapes, all that are missing when none is named."""
    known = {**SHAPES, **CONTINUED}
    wanted = names or [name for name in known if again or not files(name)]
    there = [name for name in wanted if files(name)]
    if there and not again:
        raise SystemExit(f"recorded already: {', '.join(there)}: add --again to overwrite")
    HISTORIES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedPostgres(Path(directory) / "data", free_port())
        await asyncio.to_thread(server.start)
        try:
            await make_template(server)
            usual = WorkflowEnvironment.start_local(
                dev_server_existing_path=which("temporal", path=_beside_python()),
                data_converter=pydantic_data_converter,
                dev_server_log_level="error",
                search_attributes=[SearchAttributeKey.for_keyword(n) for n in SEARCH_ATTRIBUTES],
            )
            for starting, shapes in ((usual, SHAPES), (short_history_server(), CONTINUED)):
                async with await starting as environment:
                    for name in [name for name in shapes if name in wanted]:
                        await _record(server, environment.client, name, shapes[name])
        finally:
            await asyncio.to_thread(server.stop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", choices=[[], *SHAPES, *CONTINUED], metavar="SHAPE")
    parser.add_argument("--again", action="store_true", help="overwrite what is there")
    arguments = parser.parse_args()
    asyncio.run(record(arguments.shapes, again=arguments.again))


if __name__ == "__main__":
    main()
