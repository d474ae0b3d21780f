"""Alembic's environment and versions for the schema ``refold``."""
