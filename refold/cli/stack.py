"""dev, demo, migrate, worker: commands that run the stack and its parts."""

from __future__ import annotations

import asyncio
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from temporalio.service import RPCError

from refold.cli.output import console, fail, finished
from refold.errors import RefoldError
from refold.messages.search_attributes import SEARCH_ATTRIBUTES
from refold.runtime.command import FAILED
from refold.runtime.database import make_engine
from refold.runtime.settings import MOST_PROCESSES, Settings, load_settings
from refold.runtime.telemetry.logs import set_up_logging
from refold.runtime.temporal import search_attributes
from refold.runtime.temporal.client import connect
from refold.runtime.temporal.pollers import Pollers
from refold.stack.dev import run_until_signalled
from refold.stack.errors import StackError
from refold.stack.stack import Stack
from refold.store.migrate import migrate as migrate_schema
from refold.worker.processes.place import PROCESSES, numbered


def migrate() -> None:
    """Make or upgrade the schema, and search attributes.

    It makes the schema `refold`, and registers Temporal's search attributes. Safe to run twice.
    """

    async def run() -> bool:
        engine = make_engine(load_settings(), activities=0)
        try:
            return await migrate_schema(engine)
        finally:
            await engine.dispose()

    changed = finished(run())
    console.print("schema refold: migrated" if changed else "schema refold: up to date")
    console.print(f"search attributes: {finished(_register())}", soft_wrap=True)


async def _register() -> str:
    """What became of the search attributes; without them everything works, unlisted."""
    try:
        names = await search_attributes.register(await connect())
    except RPCError as error:
        return f"Temporal refuses ({error.message}); runs are not listed by them"
    except RefoldError as error:
        return f"{error}; runs are not listed by them until `refold migrate` is run again"
    return f"registered {', '.join(names)}" if names else "up to date"


def worker(
    *,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_PROCESSES,
            help="Worker processes, each started again when it ends.",
            show_default="REFOLD_WORKER_PROCESSES, or 1",
        ),
    ] = None,
) -> None:
    """Run a worker until SIGINT or SIGTERM.

    It finishes the batches in hand. With several processes, a second signal kills them.
    """
    from refold.worker import process

    raise typer.Exit(process.main(processes))


def migrate_url(url: str) -> None:
    """Migrates the database at an address, for the stack."""

    async def run() -> None:
        engine = make_engine(Settings(database_url=url), activities=0)
        try:
            await migrate_schema(engine)
        finally:
            await engine.dispose()

    asyncio.run(run())


DataDir = Annotated[Path, typer.Option(help="Where the embedded servers keep their data.")]
Workers = Annotated[
    int, typer.Option(min=0, max=MOST_PROCESSES, envvar=PROCESSES, help="Worker processes.")
]
PortBase = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65533,
        help="Temporal's port; its UI and PostgreSQL take the next two.",
        show_default="7233, 8233 and 54321, or free ones",
    ),
]


def dev(
    *,
    data_dir: DataDir = Path(".refold"),
    workers: Workers = 1,
    port_base: PortBase = None,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            help="Start the workers anew when Python files change, here or on PYTHONPATH.",
        ),
    ] = False,
) -> None:
    """Keep an embedded stack up until Ctrl-C.

    PostgreSQL, Temporal with its UI, and workers.
    """
    set_up_logging()
    try:
        stack = Stack(
            data_dir,
            workers=workers,
            port_base=port_base,
            migrate=migrate_url,
            keywords=SEARCH_ATTRIBUTES,
            own_to_worker=numbered,
            reload=_own_folders() if reload else (),
            polls=lambda pid: pollers().have(pid),
        )
        pollers = cache(
            lambda: Pollers(stack.temporal_address, os.environ.get("REFOLD_TASK_QUEUE") or "refold")
        )
        status = run_until_signalled(stack, lambda ready: _announce(ready, data_dir))
    except StackError as error:
        fail(str(error))
    raise typer.Exit(status)


def _own_folders() -> list[Path]:
    """Where the user's own modules are imported from."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [Path.cwd(), *(Path(one) for one in named if one and Path(one).is_dir())]


def _announce(stack: Stack, data_dir: Path) -> None:
    for key, value in stack.environment.items():
        console.print(f"{key}={value}", soft_wrap=True)
    pids = ", ".join(str(pid) for pid in stack.worker_pids)
    started = f"; workers are starting: pid {pids}" if pids else "; no workers"
    console.print(f"the servers are ready{started}; Ctrl-C stops everything")
    console.print(f"in another terminal: set -a; . {data_dir / 'env'}; set +a", soft_wrap=True)


def demo(
    *,
    orders: Annotated[int, typer.Option(min=1, help="Orders of the sample shop.")] = 20_000,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up until Ctrl-C.")] = False,
) -> None:
    """Rebuild a sample shop's read model on an embedded stack."""
    from refold.cli.demo import run_demo, sample_registry

    set_up_logging()
    try:
        samples = sample_registry()
    except RefoldError as error:
        fail(str(error))
    with tempfile.TemporaryDirectory(prefix="refold-demo-") as directory:
        stack = Stack(
            Path(directory),
            workers=1,
            migrate=migrate_url,
            keywords=SEARCH_ATTRIBUTES,
            own_to_worker=numbered,
        )

        def show(ready: Stack) -> None:
            finished(run_demo(ready, samples, orders))
            if not keep:
                raise _DemoDone

        try:
            run_until_signalled(stack, show)
        except _DemoDone:
            return
        except StackError as error:
            fail(str(error))
    if not keep:
        raise typer.Exit(FAILED)


class _DemoDone(Exception):
    """Ends the demo once it has shown everything; the stack stops on the way out."""
