"""Tools for working on Refold."""
