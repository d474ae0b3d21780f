"""Logs, keys and rows that are larger than a worker's memory."""
