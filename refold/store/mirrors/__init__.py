"""Mirrors in the database: how far each has copied, and who may go on."""
