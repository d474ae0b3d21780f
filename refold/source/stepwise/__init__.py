"""Folding some keys in plain Python, some events at a time."""
