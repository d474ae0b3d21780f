"""Several worker processes on one machine, kept up by one that does no work itself."""
