"""Keys, and the server with which Temporal's UI shows what is encrypted."""
