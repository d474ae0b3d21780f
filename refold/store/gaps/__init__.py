"""Gaps in the positions that were passed, and the events that appeared in them later."""
