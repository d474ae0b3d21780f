"""The read models, one a file: what users of Refold add."""
