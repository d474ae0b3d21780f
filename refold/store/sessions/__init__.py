"""Sessions of workers that have stopped: found, and ended."""
