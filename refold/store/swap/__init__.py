"""Putting a table live: the swap, what hangs on a table, and who is in the way."""
