"""Makes, fills, changes and compares the tables of read models."""
