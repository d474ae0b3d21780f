"""What needs each right of each role, as something that is done without it."""
