"""The worker's process: its wiring, its chores, and what stands around its activities."""
