"""Mirrors on the command line."""
