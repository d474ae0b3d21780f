"""What stands around activities and workflows: failures, waits, limits, steps."""
