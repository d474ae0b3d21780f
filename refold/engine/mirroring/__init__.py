"""Copying events from elsewhere into the log."""
