"""Reads, checks and imports event files, and makes the sample shop's events."""
