"""How an event names its key: paths, what is derived of them, and keys of single event types."""
