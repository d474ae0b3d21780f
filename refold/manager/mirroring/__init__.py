"""Mirrors from Python."""
