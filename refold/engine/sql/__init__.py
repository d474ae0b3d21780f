"""Projections that are said in SQL: the one place where the engine treats them otherwise."""
