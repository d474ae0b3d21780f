"""Events of which only that travels which handlers read."""
