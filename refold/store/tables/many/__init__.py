"""Many rows of a table written or read by one statement, their columns as arrays."""
