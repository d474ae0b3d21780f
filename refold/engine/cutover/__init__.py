"""From a loaded table to one that readers see: its indexes, and what verifies it."""
