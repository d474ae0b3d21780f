"""The embedded stack: PostgreSQL, Temporal and workers as children of one process.

`Stack` (stack.py) is all of it, `run_until_signalled` (dev.py) keeps one up until a signal.
The servers are usable on their own: `EmbeddedPostgres` (postgres.py), `EmbeddedTemporal`
(temporal.py). Nothing here outlives the process that started it; the data does.
"""
