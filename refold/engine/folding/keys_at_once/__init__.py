"""Folding by functions that take many events of a key at once."""
