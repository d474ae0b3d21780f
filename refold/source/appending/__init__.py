"""Writing to Refold's own table through the connections that applications have."""
