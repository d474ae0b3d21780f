"""Finds and ends sessions of workers that have stopped."""
