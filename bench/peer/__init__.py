"""The library eventsourcing beside Refold: the same events, the same rows."""
