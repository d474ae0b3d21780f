"""Commands that say how projections stand."""
