"""What workflows of runs have in common."""
