"""What is said of a run, from its plan to its end. Pure."""
