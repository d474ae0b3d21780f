"""The tables of read models: made, filled, changed, compared."""
