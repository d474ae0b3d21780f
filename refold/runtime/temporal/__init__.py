"""Temporal from this process: the client, and search attributes."""
