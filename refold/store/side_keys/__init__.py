"""Keys that a function has made of events, beside their positions, as long as a run lasts."""
