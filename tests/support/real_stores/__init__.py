"""Libraries that keep events in PostgreSQL, each appending and reading by its own means."""
