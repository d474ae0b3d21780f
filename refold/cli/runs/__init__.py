"""Commands that start, watch, control and compare runs."""
