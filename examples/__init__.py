"""Refold inside other programs."""
