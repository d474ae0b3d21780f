"""Where events are read from: the log, its settled head, and its readers."""
