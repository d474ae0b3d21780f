"""Folding events into rows: whole keys in key order, or new events in position order."""
