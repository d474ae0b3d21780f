"""The port to the events: which table, join or select they are in, and what its columns mean."""
