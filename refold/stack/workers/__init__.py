"""The stack's worker processes, and the files whose changes start them anew."""
