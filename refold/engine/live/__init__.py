"""What a live projection does beside following."""
