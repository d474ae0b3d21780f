"""docs/performance.md: the figures of measured runs, and a picture of them."""
