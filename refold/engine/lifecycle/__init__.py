"""A run in the database: what is announced, counted, held, cleaned up and kept."""
