"""A function that takes a key's events at once, against handlers of single events."""
