"""Stores of live checkpoints that are kept apart from their rows: one file a store."""
