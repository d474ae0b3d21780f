"""What Refold keeps in PostgreSQL: one module per table of its schema, and the read models."""
