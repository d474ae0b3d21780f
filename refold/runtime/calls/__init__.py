"""Calls of people's code in threads: what is run, and the brake on what computes for long."""
