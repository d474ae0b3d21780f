"""What the managers of runs share: which run it is, how it goes, and how it ended."""
