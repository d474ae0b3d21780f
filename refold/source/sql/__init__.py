"""The selects of projections that are said in SQL, over the events of the source."""
