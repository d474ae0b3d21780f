"""Puts a table live: the swap, what is attached to the live table, and who is in the way."""
