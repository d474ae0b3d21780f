"""Projections that are said in SQL: what they declare, and what is refused of it."""
