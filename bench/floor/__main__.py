"""What a fold in Python cannot do without, piece by piece: the floor of a rebuild.

Each piece is done alone, by the code that a rebuild has for it, in this process: PostgreSQL sorts
and sends events as JSON; they are decoded; handlers are called; rows are kept together key by key,
and written by `COPY`. In a rebuild Python's pieces come one after another in each process, while
PostgreSQL's go on beside them.

    python -m bench.floor      200,000 events of 40,000 streams, three times each
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import rebuild
from bench.measuring.clocks import Clock
from bench.measuring.figures import Figure, Part, arguments_of, told
from projections.order_summary import order_summary
from refold import Row
from refold.cli.stack import migrate_url
from refold.engine.folding.key_order import KeyOrderFold
from refold.runtime.database import make_engine, raw
from refold.runtime.garbage import calm_garbage_collector
from refold.runtime.settings import Settings
from refold.runtime.threads import Hand
from refold.source.decoding import decoded
from refold.source.port.sent import sent_of
from refold.source.portions import stream
from refold.source.reader import as_events, in_key_order
from refold.stack.stack import Stack
from refold.store.tables.rows import RowStore

_AT_ONCE = 1000
# So long the event loop stands still in a rebuild, which folds, before it takes the next events.
# They have all come by then; otherwise it would wake up for each packet.
_FOLDING_SECONDS = 0.004
_COPY = order_summary.table.to_metadata(MetaData(), name="bench_floor")
_SAYS = {
    "read": "reading, in this process",
    "sort": "reading, in PostgreSQL: sort, JSON",
    "decode": "decoding",
    "fold": "folding: keys, handlers, rows",
    "handlers": "the handlers alone",
    "copy": "writing, in this process",
    "copied": "writing, in PostgreSQL: COPY",
}
_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE bench_limit EXCEPT TABLE bench_floor) AS a)
     + (SELECT count(*) FROM (TABLE bench_floor EXCEPT TABLE bench_limit) AS b)
"""


class Pieces:
    """Does one piece after another, and notes what each takes.

    Args:
        stack: The servers.
        engine: Its database.
    """

    def __init__(self, stack: Stack, engine: AsyncEngine) -> None:
        self._stack = stack
        self._engine = engine
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def _piece(self, here: str, there: str | None = None) -> Iterator[None]:
        """Notes processor time: of this process, and of PostgreSQL."""
        gc.collect()
        clock, began = Clock(self._stack, []), time.process_time()
        yield
        self.seconds[here].append(time.process_time() - began)
        if there is not None:
            self.seconds[there].append(clock.spent().postgres)

    async def once(self) -> None:
        """All pieces, of all events."""
        sent = sent_of(order_summary)
        statement = in_key_order(order_summary, upto=2**62, low=None, high=None, sent=sent)
        chunks: list[list[str]] = []
        async with self._engine.connect() as connection:
            with self._piece("read", "sort"):
                reading = stream(connection, statement, fetch=_AT_ONCE, sent=sent)
                async with reading as portions:
                    async for texts in portions:
                        chunks.append(texts)
                        time.sleep(_FOLDING_SECONDS)  # noqa: ASYNC251
        with self._piece("decode"):
            for texts in chunks:
                for _ in decoded(texts, Hand(order_summary.name)):
                    pass
        fold = KeyOrderFold(order_summary, _AT_ONCE, batch_seconds=3600.0, sent=sent)
        batches: list[list[Row]] = []
        with self._piece("fold"):
            for texts in chunks:
                for batch in fold.feed(decoded(texts, fold.hand)):
                    fold.hand.renew()
                    batches.append(batch.rows)
            batches.append(fold.finish().rows)
        self.seconds["fold"][-1] -= self.seconds["decode"][-1]
        await self._write(batches)
        await self._handlers()

    async def _write(self, batches: list[list[Row]]) -> None:
        store = RowStore(_COPY)
        async with self._engine.begin() as connection:
            await connection.execute(text("DROP TABLE IF EXISTS bench_floor"))
            await connection.execute(text("CREATE TABLE bench_floor (LIKE bench_limit)"))
            driver = await raw(connection)
            with self._piece("copy", "copied"):
                for rows in batches:
                    await store.load(driver, rows)

    async def _handlers(self) -> None:
        """The handlers alone, on events that are there already."""
        async with self._engine.connect() as connection:
            statement = in_key_order(order_summary, upto=2**62, low=None, high=None)
            async with stream(connection, statement, fetch=_AT_ONCE) as portions:
                events = [event async for texts in portions for event in as_events(texts)]
        handlers = order_summary.handlers
        with self._piece("handlers"):
            key, row = None, None
            for event in events:
                if event.stream_id != key:
                    key, row = event.stream_id, None
                row = handlers[event.type](row, event)


async def measure(stack: Stack, events: int, runs: int) -> Part:
    """Does all pieces, so many times."""
    engine = make_engine(Settings(database_url=stack.database_url))
    try:
        await rebuild.seed(engine, events)
        await rebuild.limit(engine)
        pieces = Pieces(stack, engine)
        differing = 0
        for number in range(1, runs + 1):
            await pieces.once()
            async with engine.connect() as connection:
                differing += await connection.scalar(text(_DIFFERENT)) or 0
            print(f"run {number}: done", flush=True)
    finally:
        await engine.dispose()
    figures = [
        Figure(
            name=f"floor-{name}",
            says=says,
            unit="µs an event",
            values=[1e6 * max(0.0, seconds) / events for seconds in pieces.seconds[name]],
        )
        for name, says in _SAYS.items()
    ]
    return Part(name="floor", events=events, figures=figures, differing_rows=differing)


def main() -> None:
    """Runs the bench; exits with 1 when rows differ."""
    arguments = arguments_of(__doc__, events=200_000).parse_args()
    calm_garbage_collector()
    with (
        tempfile.TemporaryDirectory(prefix="refold-floor-") as directory,
        Stack(
            Path(directory), workers=0, port_base=arguments.port_base, migrate=migrate_url
        ) as stack,
    ):
        part = asyncio.run(measure(stack, arguments.events, arguments.runs))
    raise SystemExit(0 if told(part, arguments.json) else 1)


if __name__ == "__main__":
    main()
